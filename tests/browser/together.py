"""The Python side of together.test.mjs: a stock client on one node and a stock server on the Redis of both.

`together.py NODE_URL REDIS_URL ROOM`. Takes a JSON object a line, {"client": text} or {"server": text}, says it in the
room by that side, and prints a line for everything the client hears.
"""
import json
import sys
import threading
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent.parent / "clients" / "py"))
from member import Person, PythonServer  # noqa: E402

node_url, redis_url, room = sys.argv[1:]
server = PythonServer(redis_url)
client = Person(node_url)
client.join(room)


def report():
    while True:
        event, *args = client.heard.get()
        print(json.dumps({"heard": event, "args": args}), flush=True)


threading.Thread(target=report, daemon=True).start()
print(json.dumps({"ready": client.sid}), flush=True)
for line in sys.stdin:
    for side, text in json.loads(line).items():
        message = {"room": room, "name": f"python {side}", "text": text}
        if side == "client":
            client.say(room, "message", message)
        else:
            server.emit("message", message, room=room)
client.close()
server.stop()

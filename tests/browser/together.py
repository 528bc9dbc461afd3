"""The Python side of together.test.mjs: a stock client on one node and a stock server on the Redis of both.

`together.py NODE_URL REDIS_URL ROOM`. Reads one JSON object per line, {"client": text} or {"server": text}, publishes the
text to the room from that side, and prints one line for each event that the client receives.
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
        event, *args = client.received.get()
        print(json.dumps({"received": event, "args": args}), flush=True)


threading.Thread(target=report, daemon=True).start()
print(json.dumps({"ready": client.sid}), flush=True)
for line in sys.stdin:
    for side, text in json.loads(line).items():
        message = {"room": room, "name": f"python {side}", "text": text}
        if side == "client":
            client.publish(room, "message", message)
        else:
            server.emit("message", message, room=room)
client.close()
server.stop()

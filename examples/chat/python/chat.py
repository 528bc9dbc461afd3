"""The backend of the chat: login, webhook and announcements, with Python's standard library."""

import base64
import hashlib
import hmac
import json
import os
import time
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

TOKEN_SECRET = os.environ["CHAT_TOKEN_SECRET"].encode()
WEBHOOK_SECRET = base64.b64decode(os.environ["CHAT_WEBHOOK_SECRET"].removeprefix("whsec_"))
API, API_KEY = os.environ["CHAT_API"], os.environ["CHAT_API_KEY"]
PAGE = Path(__file__).parent.parent / "page.html"


def token(user):
    """A JWT for an hour; its owner is in the room `lobby` from the start."""
    def encode(part):
        return base64.urlsafe_b64encode(part).rstrip(b"=")
    now = int(time.time())
    claims = {"sub": user, "iat": now, "exp": now + 3600, "roomwire": {"rooms": ["lobby"]}}
    text = b".".join(encode(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims))
    return (text + b"." + encode(hmac.digest(TOKEN_SECRET, text, hashlib.sha256))).decode()


def is_signed(headers, body):
    """Whether the node sent this request, within the last five minutes."""
    sent = headers.get("webhook-timestamp", "0")
    if abs(time.time() - int(sent)) > 300:
        return False
    signed = f"{headers.get('webhook-id')}.{sent}.".encode() + body
    expected = "v1," + base64.b64encode(hmac.digest(WEBHOOK_SECRET, signed, hashlib.sha256)).decode()
    return any(hmac.compare_digest(expected, given) for given in headers.get("webhook-signature", "").split())


def rejected(code, message):
    return {"error": {"code": code, "message": message}}


def on_webhook(kind, data):
    """What the node does for an event of a client."""
    user, socket = data.get("user"), data["socket"]
    rooms = data.get("session", {}).get("rooms", ["lobby"])

    def tell(room, event, *args, **more):
        return {"emit": {"rooms": [room], "except": [socket], "event": event, "args": [room, user, *args], **more}}

    if kind == "disconnect":
        # The socket is gone, so there is nothing to decide; the others are told by the API.
        request_api("batch", {"items": [tell(room, "left") for room in rooms]})
        return {}
    event, args = data["event"], data["args"]
    room = args[0] if args else None
    if not isinstance(room, str) or not 0 < len(room) <= 40:
        return rejected("room_invalid", "a room has 1 to 40 characters")
    if event == "join":
        actions = [{"join": {"rooms": [room]}}, tell(room, "joined")]
        return {"session": {"rooms": [*{*rooms, room}]}, "actions": actions, "ack": [{"ok": True}]}
    if room not in rooms:
        return rejected("not_a_member", f"join {room} first")
    if event == "leave":
        actions = [{"leave": {"rooms": [room]}}, tell(room, "left")]
        return {"session": {"rooms": [*{*rooms} - {room}]}, "actions": actions, "ack": [{"ok": True}]}
    if event == "typing":
        return {"actions": [tell(room, "typing", args[1:2] == [True], volatile=True)]}
    text = args[1] if len(args) > 1 else None
    if event != "message" or not isinstance(text, str) or not text:
        return rejected("message_invalid", "a message is a text")
    message = {"rooms": [room], "event": "message", "args": [room, user, text]}
    return {"actions": [{"emit": message}], "ack": [{"ok": True}]}


def request_api(verb, body):
    """Requests something of the node by itself."""
    headers = {"Authorization": f"Bearer {API_KEY}", "Content-Type": "application/json"}
    request = urllib.request.Request(f"{API}/{verb}", json.dumps(body).encode(), headers)
    with urllib.request.urlopen(request, timeout=5) as response:
        return json.load(response)


class Handler(BaseHTTPRequestHandler):
    # Head and body leave in two packets; the second must not wait for the acknowledgement of the first.
    disable_nagle_algorithm = True
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        self.respond(200, PAGE.read_bytes(), "text/html; charset=utf-8")

    def do_POST(self):
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.path == "/roomwire" and not is_signed(self.headers, body):
            return self.respond(401, b"{}")
        request = json.loads(body)
        if self.path == "/roomwire":
            answer = on_webhook(request["type"], request["data"])
        elif self.path == "/login" and request.get("name"):
            # A real login checks a password here.
            answer = {"token": token(request["name"])}
        elif self.path == "/announce":
            event = {"event": "announcement", "args": [request["text"]]}
            answer = request_api("emit", {"everybody": True, "counts": True, **event})
        else:
            return self.respond(404, b"{}")
        return self.respond(200, json.dumps(answer).encode())

    def respond(self, status, body, kind="application/json"):
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_request(self, *_):
        pass


if __name__ == "__main__":
    port = int(os.environ["CHAT_PORT"])
    print(f"open http://127.0.0.1:{port}/", flush=True)
    ThreadingHTTPServer(("127.0.0.1", port), Handler).serve_forever()

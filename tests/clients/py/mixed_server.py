"""A stock python-socketio server with AsyncRedisManager, in a process of its own so that it can be killed: PORT REDIS_URL.

POST /control executes what the tests request (tests/clients/lib/mixed.mjs); lib/mixed_node.mjs has the same requests.
"""
import asyncio
import base64
import json
import sys

import socketio
import uvicorn

port, url = int(sys.argv[1]), sys.argv[2]
sio = socketio.AsyncServer(
    async_mode="asgi", client_manager=socketio.AsyncRedisManager(url), namespaces=["/", "/custom"], cors_allowed_origins="*"
)


def decoded(value):
    """Binary values are `{"base64": text}`."""
    if isinstance(value, list):
        return [decoded(item) for item in value]
    if not isinstance(value, dict):
        return value
    if "base64" in value:
        return base64.b64decode(value["base64"])
    return {name: decoded(item) for name, item in value.items()}


async def emit(namespace, rooms, event, args, **more):
    skipped = more.get("except", [])
    await sio.emit(event, tuple(decoded(args)), room=rooms or None, skip_sid=skipped or None, namespace=namespace)


async def call(namespace, rooms, event, args, timeout, **_more):
    """The first ack of a room, as a callback of this server gets it."""
    answered = asyncio.get_running_loop().create_future()

    def respond(*acked):
        if not answered.done():
            answered.set_result(acked[0] if acked else None)

    await sio.emit(event, tuple(args), room=rooms[0], namespace=namespace, callback=respond)
    try:
        return {"acks": [await asyncio.wait_for(answered, timeout / 1000)]}
    except asyncio.TimeoutError:
        return {"acks": []}


async def join(namespace, sid, room):
    await sio.enter_room(sid, room, namespace=namespace)


async def leave(namespace, sid, room):
    await sio.leave_room(sid, room, namespace=namespace)


async def close_room(namespace, room):
    await sio.close_room(room, namespace=namespace)


async def disconnect(namespace, sid):
    await sio.disconnect(sid, namespace=namespace)


CONTROL = {function.__name__: function for function in (emit, call, join, leave, close_room, disconnect)}


def serve(namespace):
    """Lets clients join rooms and emit to them, as the relay of Roomwire does."""

    @sio.on("roomwire:join", namespace=namespace)
    async def on_join(sid, room):
        await sio.enter_room(sid, room, namespace=namespace)
        return {"ok": True}

    @sio.on("roomwire:emit", namespace=namespace)
    async def on_emit(sid, room, event, *args):
        await sio.emit(event, args, room=room, skip_sid=sid, namespace=namespace)
        return {"ok": True}


serve("/")
serve("/custom")

socket_app = socketio.ASGIApp(sio)


async def app(scope, receive, send):
    if scope["type"] != "http" or not scope["path"].startswith(("/control", "/ready")):
        return await socket_app(scope, receive, send)
    body = b""
    while True:
        message = await receive()
        body += message.get("body", b"")
        if not message.get("more_body"):
            break
    status, answer = 200, {}
    if body:
        fields = json.loads(body)
        try:
            answer = await CONTROL[fields.pop("operation")](**fields) or {}
        except Exception as error:  # The test shows it.
            status, answer = 500, {"error": repr(error)}
    await send({"type": "http.response.start", "status": status, "headers": [(b"content-type", b"application/json")]})
    await send({"type": "http.response.body", "body": json.dumps(answer).encode()})


uvicorn.run(app, host="127.0.0.1", port=port, log_level="warning")

"""The relay app on stock python-socketio under uvicorn (uvloop, httptools).

PORT is the port; with REDIS_URL several of these form one cluster over
AsyncRedisManager.
"""

import os

import socketio
import uvicorn

redis_url = os.environ.get("REDIS_URL")
manager = socketio.AsyncRedisManager(redis_url) if redis_url else None
sio = socketio.AsyncServer(async_mode="asgi", client_manager=manager)
ACCEPTED = {"ok": True}


@sio.on("roomwire:join")
async def join(sid, room):
    await sio.enter_room(sid, room)
    return ACCEPTED


@sio.on("roomwire:leave")
async def leave(sid, room):
    await sio.leave_room(sid, room)
    return ACCEPTED


@sio.on("roomwire:emit")
async def emit(sid, room, event, *args):
    await sio.emit(event, args, room=room, skip_sid=sid)
    return ACCEPTED


uvicorn.run(
    socketio.ASGIApp(sio),
    host="127.0.0.1",
    port=int(os.environ["PORT"]),
    loop="uvloop",
    http="httptools",
    ws="auto",
    log_level="warning",
)

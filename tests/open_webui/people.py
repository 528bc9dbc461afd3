"""Users: their REST requests, and the socket of their browser, which records all events."""

import asyncio
import contextlib
import time
from typing import Any

import httpx
import socketio

TIMEOUT = 20
HEARTBEAT_INTERVAL = 15


class User:
    """A signed-in user. Each REST request names its backend."""

    def __init__(self, name: str, token: str, identity: str):
        self.name, self.token, self.id = name, token, identity

    @classmethod
    async def sign_in(cls, backend: str, email: str, password: str) -> "User":
        async with httpx.AsyncClient(timeout=60) as client:
            response = await client.post(f"{backend}/api/v1/auths/signin", json={"email": email, "password": password})
            response.raise_for_status()
            account = response.json()
        return cls(account["name"], account["token"], account["id"])

    async def call(self, method: str, backend: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(timeout=60, headers=headers) as client:
            response = await client.request(method, backend + path, json=body)
            if response.status_code >= 400:
                raise RuntimeError(f"{method} {path}: {response.status_code} {response.text[:500]}")
            return response.json()

    async def get(self, backend: str, path: str) -> Any:
        return await self.call("GET", backend, path)

    async def post(self, backend: str, path: str, body: Any = None) -> Any:
        return await self.call("POST", backend, path, body)


class Browser:
    """A socket that records every event and acknowledges it with `ack`, a value or a function of the arguments."""

    def __init__(self, name: str, url: str):
        self.name, self.url = name, url
        self.events: list[tuple[str, list[Any]]] = []
        self.disconnects: list[str] = []
        self.heartbeats: asyncio.Task[None] | None = None
        self.ack: Any = {"answer": "yes from client"}
        self.client = socketio.AsyncClient(reconnection=False)
        self.client.on("*", self.on_event)
        self.client.on("disconnect", self.on_disconnect)

    async def on_event(self, event: str, *arguments: Any) -> Any:
        self.events.append((event, list(arguments)))
        return self.ack(*arguments) if callable(self.ack) else self.ack

    async def on_disconnect(self, reason: str) -> None:
        self.disconnects.append(reason)

    async def connect(self, token: str | None) -> None:
        auth = {"token": token} if token is not None else None
        await self.client.connect(
            self.url, socketio_path="/ws/socket.io", transports=["websocket"], auth=auth, wait_timeout=TIMEOUT
        )

    async def join(self, token: str | None) -> Any:
        account = await self.call("user-join", {"auth": {"token": token}})
        if isinstance(account, dict) and self.heartbeats is None:
            self.heartbeats = asyncio.create_task(self.send_heartbeats())
        return account

    async def send_heartbeats(self) -> None:
        """Backends consider a session dead after two minutes without a heartbeat."""
        while True:
            await asyncio.sleep(HEARTBEAT_INTERVAL)
            # The socket may disconnect at this moment.
            with contextlib.suppress(socketio.exceptions.SocketIOError):
                await self.emit("heartbeat", {})

    async def call(self, event: str, data: Any) -> Any:
        """The ack of the server; `"no ack"` if the socket is disconnected first or none arrives in time."""
        ack = asyncio.ensure_future(self.client.call(event, data, timeout=TIMEOUT))
        while not ack.done() and not self.disconnects:
            await asyncio.wait([ack], timeout=0.05)
        if not ack.done():
            ack.cancel()
            return "no ack"
        try:
            return ack.result()
        except Exception as error:
            return f"no ack: {type(error).__name__}"

    async def emit(self, event: str, data: Any) -> None:
        await self.client.emit(event, data)

    @property
    def sid(self) -> str:
        return self.client.get_sid("/")

    async def close(self) -> None:
        if self.heartbeats:
            self.heartbeats.cancel()
        if self.client.connected:
            await self.client.disconnect()


async def eventually(condition, what: str, timeout: float = TIMEOUT) -> None:
    """Waits until the condition, a function or a coroutine function, is true."""
    deadline = time.monotonic() + timeout
    while True:
        outcome = condition()
        if asyncio.iscoroutine(outcome):
            outcome = await outcome
        if outcome:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in {timeout} s: {what}")
        await asyncio.sleep(0.05)

"""Users of the product: their REST calls, and their browser's socket as a recorder of all it hears."""

import asyncio
import contextlib
import time
from typing import Any

import httpx
import socketio

PATIENCE = 20
HEARTBEAT = 15


class User:
    """A signed-in user; REST calls go to the backend named in each."""

    def __init__(self, name: str, token: str, identity: str):
        self.name, self.token, self.id = name, token, identity

    @classmethod
    async def sign_in(cls, backend: str, email: str, password: str) -> "User":
        async with httpx.AsyncClient(timeout=60) as client:
            answer = await client.post(f"{backend}/api/v1/auths/signin", json={"email": email, "password": password})
            answer.raise_for_status()
            account = answer.json()
        return cls(account["name"], account["token"], account["id"])

    async def call(self, method: str, backend: str, path: str, body: Any = None) -> Any:
        headers = {"Authorization": f"Bearer {self.token}"}
        async with httpx.AsyncClient(timeout=60, headers=headers) as client:
            answer = await client.request(method, backend + path, json=body)
            if answer.status_code >= 400:
                raise RuntimeError(f"{method} {path}: {answer.status_code} {answer.text[:500]}")
            return answer.json()

    async def get(self, backend: str, path: str) -> Any:
        return await self.call("GET", backend, path)

    async def post(self, backend: str, path: str, body: Any = None) -> Any:
        return await self.call("POST", backend, path, body)


class Browser:
    """A socket that records every event, and answers questions of the server."""

    def __init__(self, name: str, url: str):
        self.name, self.url = name, url
        self.heard: list[tuple[str, list[Any]]] = []
        self.ended: list[str] = []
        self.beats: asyncio.Task[None] | None = None
        self.answer: Any = {"answer": "yes from client"}
        self.client = socketio.AsyncClient(reconnection=False)
        self.client.on("*", self.on_event)
        self.client.on("disconnect", self.on_end)

    async def on_event(self, event: str, *arguments: Any) -> Any:
        self.heard.append((event, list(arguments)))
        return self.answer(*arguments) if callable(self.answer) else self.answer

    async def on_end(self, reason: str) -> None:
        self.ended.append(reason)

    async def connect(self, token: str | None) -> None:
        auth = {"token": token} if token is not None else None
        await self.client.connect(
            self.url, socketio_path="/ws/socket.io", transports=["websocket"], auth=auth, wait_timeout=PATIENCE
        )

    async def join(self, token: str | None) -> Any:
        account = await self.call("user-join", {"auth": {"token": token}})
        if isinstance(account, dict) and self.beats is None:
            self.beats = asyncio.create_task(self.beat())
        return account

    async def beat(self) -> None:
        """Pages say so as long as they are open; who does not is forgotten after two minutes."""
        while True:
            await asyncio.sleep(HEARTBEAT)
            # It may end at this very moment.
            with contextlib.suppress(socketio.exceptions.SocketIOError):
                await self.emit("heartbeat", {})

    async def call(self, event: str, data: Any) -> Any:
        """The server's ack; `"no ack"` if the socket ended first or nobody answered."""
        answer = asyncio.ensure_future(self.client.call(event, data, timeout=PATIENCE))
        while not answer.done() and not self.ended:
            await asyncio.wait([answer], timeout=0.05)
        if not answer.done():
            answer.cancel()
            return "no ack"
        try:
            return answer.result()
        except Exception as error:
            return f"no ack: {type(error).__name__}"

    async def emit(self, event: str, data: Any) -> None:
        await self.client.emit(event, data)

    @property
    def sid(self) -> str:
        return self.client.get_sid("/")

    async def close(self) -> None:
        if self.beats:
            self.beats.cancel()
        if self.client.connected:
            await self.client.disconnect()


async def eventually(condition, what: str, patience: float = PATIENCE) -> None:
    """Waits until the condition, a function or a coroutine function, is true."""
    deadline = time.monotonic() + patience
    while True:
        outcome = condition()
        if asyncio.iscoroutine(outcome):
            outcome = await outcome
        if outcome:
            return
        if time.monotonic() > deadline:
            raise TimeoutError(f"not in {patience} s: {what}")
        await asyncio.sleep(0.05)

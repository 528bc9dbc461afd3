"""A TCP proxy in front of a backend that can reset the upstream connections of a node."""

import asyncio
import contextlib
import threading

from services import free_port


class TcpProxy:
    """Forwards connections to a backend, on a thread of its own."""

    def __init__(self, port: int):
        self.backend_port = port
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.websockets: set[asyncio.StreamWriter] = set()
        self.loop = asyncio.new_event_loop()
        ready = threading.Event()
        threading.Thread(target=self.run, args=(ready,), daemon=True).start()
        ready.wait()

    def run(self, ready: threading.Event) -> None:
        self.loop.run_until_complete(asyncio.start_server(self.accept, "127.0.0.1", self.port))
        ready.set()
        self.loop.run_forever()

    async def accept(self, client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        try:
            backend, to_backend = await asyncio.open_connection("127.0.0.1", self.backend_port)
        except OSError:
            to_client.transport.abort()
            return
        ends = (to_client, to_backend)
        try:
            await asyncio.gather(self.forward(client, to_backend, ends), self.forward(backend, to_client, ()))
        except OSError:
            pass
        finally:
            for end in ends:
                self.websockets.discard(end)
                with contextlib.suppress(OSError):
                    end.close()

    async def forward(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, ends: tuple) -> None:
        """Forwards until the source ends. `ends` are the two ends of a connection that requests a websocket."""
        while data := await source.read(65536):
            if b"upgrade: websocket" in data.lower():
                self.websockets.update(ends)
            sink.write(data)
            await sink.drain()
        sink.close()

    def cut(self) -> int:
        """Resets all websockets; returns how many there were."""
        return asyncio.run_coroutine_threadsafe(self.reset(), self.loop).result(10)

    async def reset(self) -> int:
        ends = list(self.websockets)
        for end in ends:
            end.transport.abort()
        return len(ends) // 2

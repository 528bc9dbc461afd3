"""A TCP way to a backend that can be cut: where a node's legs pass, for the faults of this folder's tests."""

import asyncio
import contextlib
import threading

from surroundings import free_port


class Way:
    """Listens beside a backend and passes everything on, on a thread of its own."""

    def __init__(self, port: int):
        self.behind = port
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.legs: set[asyncio.StreamWriter] = set()
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
            backend, to_backend = await asyncio.open_connection("127.0.0.1", self.behind)
        except OSError:
            to_client.transport.abort()
            return
        ends = (to_client, to_backend)
        try:
            await asyncio.gather(self.carry(client, to_backend, ends), self.carry(backend, to_client, ()))
        except OSError:
            pass
        finally:
            for end in ends:
                self.legs.discard(end)
                with contextlib.suppress(OSError):
                    end.close()

    async def carry(self, source: asyncio.StreamReader, sink: asyncio.StreamWriter, leg: tuple) -> None:
        """Until the source ends. What asks for a websocket is a leg, and its two ends are `leg`."""
        while data := await source.read(65536):
            if b"upgrade: websocket" in data.lower():
                self.legs.update(leg)
            sink.write(data)
            await sink.drain()
        sink.close()

    def cut(self) -> int:
        """Resets every leg, and tells how many there were."""
        return asyncio.run_coroutine_threadsafe(self.reset(), self.loop).result(10)

    async def reset(self) -> int:
        ends = list(self.legs)
        for end in ends:
            end.transport.abort()
        return len(ends) // 2

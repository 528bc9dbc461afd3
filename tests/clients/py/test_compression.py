"""Python clients with permessage-deflate: python-socketio on aiohttp, and the library websockets. python-socketio's
synchronous client (websocket-client) offers no compression and works beside them."""
import asyncio
import zlib

import pytest
import socketio
import websockets

from drivers import Asynchronous, Synchronous
from programs import Node

DOCUMENT = [{"id": number, "name": f"user {number}", "text": "naïve"} for number in range(80)]


class Compressed(Asynchronous):
    def make(self):
        return socketio.AsyncClient(reconnection=False, websocket_extra_options={"compress": 15})


@pytest.fixture(scope="module")
def compressing():
    node = Node(APP__KIND="relay", ENGINE__WEBSOCKET_COMPRESSION="true")
    yield node
    node.stop()


@pytest.mark.parametrize("transports", [["websocket"], ["polling", "websocket"]], ids=["websocket", "upgrade"])
def test_clients_with_and_without_compression_share_a_room(compressing, transports):
    async def run():
        kinds = [Compressed, Compressed, Asynchronous, Synchronous]
        clients = [await kind().opened(compressing.url, transports) for kind in kinds]
        assert [client.client.eio.ws.compress for client in clients[:3]] == [15, 15, 0]
        for client in clients:
            assert (await client.call("roomwire:join", "r"))["ok"]
        for sender in clients:
            for args in ((DOCUMENT, b"\x01" * 4000), ("small", b"\x02")):
                assert (await sender.call("roomwire:emit", "r", "news", *args))["ok"]
                for client in clients:
                    if client is not sender:
                        assert await client.next() == ("news", *args)
        for client in clients:
            await client.close()

    asyncio.run(run())


def test_websockets_negotiates_and_receives_compressed_frames(compressing):
    async def run():
        url = compressing.url.replace("http", "ws") + "/socket.io/?EIO=4&transport=websocket"
        async with websockets.connect(url) as member, websockets.connect(url, compression=None) as sender:
            assert [type(one).__name__ for one in member.protocol.extensions] == ["PerMessageDeflate"]
            assert not sender.protocol.extensions
            for client in (member, sender):
                await client.recv()
                await client.send("40")
                await client.recv()
                await client.send('420["roomwire:join","w"]')
                assert '"ok":true' in await client.recv()
            for text in ("x" * 3000, "short"):
                await sender.send(f'42["roomwire:emit","w","news","{text}"]')
                assert await member.recv() == f'42["news","{text}"]'
            await member.send(f'42["roomwire:emit","w","back","{"y" * 3000}"]')
            assert await sender.recv() == f'42["back","{"y" * 3000}"]'

    asyncio.run(run())


def test_zlib_reads_what_one_worker_compressed(compressing):
    """The bytes on the wire are one raw DEFLATE stream per message, with an empty window at its start."""

    async def run():
        reader, writer = await asyncio.open_connection("127.0.0.1", compressing.port)
        writer.write(
            b"GET /socket.io/?EIO=4&transport=websocket HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\n"
            b"Upgrade: websocket\r\nSec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
            b"Sec-WebSocket-Extensions: permessage-deflate\r\n\r\n"
        )
        head = await reader.readuntil(b"\r\n\r\n")
        assert b"permessage-deflate; server_no_context_takeover; client_no_context_takeover" in head

        async def frame():
            first, length = await reader.readexactly(2)
            if length == 126:
                length = int.from_bytes(await reader.readexactly(2))
            return first, await reader.readexactly(length)

        def send(text):
            writer.write(bytes([0x81, 0x80 | len(text), 0, 0, 0, 0]) + text.encode())

        await frame()
        send("40")
        await frame()
        send('420["roomwire:join","z"]')
        await frame()
        sender = await Asynchronous().opened(compressing.url, ["websocket"])
        for text in ("first " * 500, "second " * 500):
            await sender.call("roomwire:emit", "z", "news", text)
            first, content = await frame()
            assert first == 0xC1
            assert len(content) < 100
            stream = zlib.decompressobj(-15)
            assert stream.decompress(content + b"\x00\x00\xff\xff").decode() == f'42["news","{text}"]'
        await sender.close()
        writer.close()

    asyncio.run(run())

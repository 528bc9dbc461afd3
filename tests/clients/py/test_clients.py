"""The stock python-socketio clients, synchronous and asyncio, by every transport, on one node."""
import asyncio
import contextlib

import pytest
import socketio.exceptions

from drivers import Asynchronous, AsynchronousMsgpack, Synchronous, SynchronousMsgpack
from programs import TIMEOUT

TRANSPORTS = {"polling": ["polling"], "websocket": ["websocket"], "upgrade": ["polling", "websocket"]}
DRIVERS = {
    "sync": Synchronous,
    "asyncio": Asynchronous,
    "sync, msgpack": SynchronousMsgpack,
    "asyncio, msgpack": AsynchronousMsgpack,
}
pytestmark = [
    pytest.mark.parametrize("driver", DRIVERS.values(), ids=DRIVERS.keys()),
    pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS.keys()),
]


@contextlib.asynccontextmanager
async def connected(driver, node, transports, namespaces=("/",), auth=None):
    client = await driver(namespaces).opened(node.url, transports, auth)
    assert client.client.transport() == transports[-1]
    try:
        yield client
    finally:
        await client.close()


def test_connects_with_a_payload(echo, driver, transports):
    async def run():
        async with connected(driver, echo, transports, auth={"token": "abc", "deep": [1, None]}) as client:
            assert await client.next() == ("auth", {"token": "abc", "deep": [1, None]})

    asyncio.run(run())


def test_connects_without_a_payload(echo, driver, transports):
    async def run():
        async with connected(driver, echo, transports) as client:
            assert await client.next() == ("auth", {})

    asyncio.run(run())


def test_an_unknown_namespace_is_rejected(echo, driver, transports):
    async def run():
        client = driver(["/random"])
        with pytest.raises(socketio.exceptions.ConnectionError):
            await client.opened(echo.url, transports)
        assert await asyncio.wait_for(client.rejected.get(), TIMEOUT) == ({"message": "Invalid namespace"},)

    asyncio.run(run())


def test_two_namespaces_on_one_connection(echo, driver, transports):
    async def run():
        async with connected(driver, echo, transports, ["/", "/custom"]) as client:
            for namespace in ["/custom", "/"]:
                assert await client.next(namespace) == ("auth", {})
                await client.emit("message", namespace, namespace=namespace)
                assert await client.next(namespace) == ("message-back", namespace)

    asyncio.run(run())


def test_values_and_binary_both_ways(echo, driver, transports):
    values = (1, 1.5, "text 世界 🚀", True, None, [], {"a": [b"\x00\x01\xff", {"b": b""}]}, b"bytes")

    async def run():
        async with connected(driver, echo, transports) as client:
            await client.next()
            await client.emit("message", *values)
            assert await client.next() == ("message-back", *values)
            await client.emit("message")
            assert await client.next() == ("message-back",)

    asyncio.run(run())


def test_acks(echo, driver, transports):
    async def run():
        async with connected(driver, echo, transports) as client:
            assert await client.call("message-with-ack", "one") == "one"
            assert tuple(await client.call("message-with-ack", 1, {"b": b"\x01"})) == (1, {"b": b"\x01"})
            acks = await asyncio.gather(*(client.call("message-with-ack", number) for number in range(20)))
            assert acks == list(range(20))

    asyncio.run(run())


def test_a_long_burst_arrives_in_order(echo, driver, transports):
    """The python clients give up on a poll of more than 16 packets."""

    async def run():
        async with connected(driver, echo, transports) as client:
            await client.next()
            for number in range(200):
                await client.emit("message", number)
            assert [await client.next() for _ in range(200)] == [("message-back", number) for number in range(200)]

    asyncio.run(run())


def test_a_burst_from_a_room_arrives_in_order(relay, driver, transports):
    async def run():
        async with connected(driver, relay, transports) as member, connected(driver, relay, ["websocket"]) as sender:
            assert (await member.call("roomwire:join", "burst"))["ok"] is True
            expected = []
            for number in range(200):
                args = (number, b"odd") if number % 2 else (number,)
                expected.append(("tick", *args))
                await sender.emit("roomwire:emit", "burst", "tick", *args)
            assert [await member.next() for _ in range(200)] == expected

    asyncio.run(run())


def test_rooms(relay, driver, transports):
    async def run():
        async with contextlib.AsyncExitStack() as stack:
            opened = [await stack.enter_async_context(connected(driver, relay, transports)) for _ in range(3)]
            sender, member, leaver = opened
            for client in opened:
                assert (await client.call("roomwire:join", "r"))["ok"] is True
            assert (await leaver.call("roomwire:leave", "r"))["ok"] is True
            assert (await sender.call("roomwire:emit", "r", "news", 1, b"2"))["ok"] is True
            assert await member.next() == ("news", 1, b"2")
            assert (await leaver.call("roomwire:emit", "r", "news", "all"))["ok"] is True
            assert await sender.next() == ("news", "all")
            assert await member.next() == ("news", "all")
            assert leaver.received["/"].empty()

    asyncio.run(run())


def test_large_messages(echo, driver, transports):
    # A packet of msgpack is binary, so polling sends it as base64.
    text = "x" * (700_000 if driver.serializer == "msgpack" else 900_000)
    data = bytes(700_000)

    async def run():
        async with connected(driver, echo, transports) as client:
            assert await client.call("message-with-ack", text) == text
            assert await client.call("message-with-ack", data) == data

    asyncio.run(run())


def test_the_client_leaves(echo, driver, transports):
    async def run():
        async with connected(driver, echo, transports) as client:
            await client.close()
            assert await client.end() == ("client disconnect",)

    asyncio.run(run())

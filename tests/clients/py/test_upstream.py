"""A stock python-socketio server behind Roomwire (`app.kind = "upstream"`), the stock python clients in front of it."""
import asyncio
import contextlib

import pytest
import socketio
import socketio.exceptions

from drivers import Asynchronous, Synchronous
from member import PythonServer
from programs import TIMEOUT, Node
from test_clients import TRANSPORTS, connected

by_every_way = [
    pytest.mark.parametrize("driver", [Synchronous, Asynchronous], ids=["sync", "asyncio"]),
    pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS.keys()),
]
VALUES = (1, 1.5, "text 世界 🚀", True, None, [], {"a": [b"\x00\x01\xff", {"b": b""}]}, b"bytes")


def handlers(sio):
    """The handlers of the server; nothing in them is specific to Roomwire."""
    for namespace in sio.namespaces:
        on = {"namespace": namespace}

        @sio.on("connect", **on)
        async def connect(sid, _environ, auth, on=on):
            if auth == {"token": "bad"}:
                raise socketio.exceptions.ConnectionRefusedError("not you", {"code": 7})
            await sio.emit("welcome", (on["namespace"], auth), to=sid, **on)

        @sio.on("echo", **on)
        async def echo(_sid, *args):
            return args

        @sio.on("say", **on)
        async def say(sid, event, *args, on=on):
            await sio.emit(event, args, to=sid, **on)

        @sio.on("enter", **on)
        async def enter(sid, room, on=on):
            await sio.enter_room(sid, room, **on)
            return "entered"

        @sio.on("tell", **on)
        async def tell(_sid, room, *args, on=on):
            await sio.emit("told", args, room=room, **on)

        @sio.on("leave me", **on)
        async def leave_me(sid, on=on):
            await sio.disconnect(sid, **on)

        @sio.on("disconnect", **on)
        async def left(_sid, reason, on=on):
            await sio.emit("left", reason, **on)

    @sio.on("ask me")
    async def ask_me(sid, *args):
        return await sio.call("question", args, to=sid, timeout=TIMEOUT)


@contextlib.contextmanager
def in_front_of(upstream, **settings):
    node = Node(APP__KIND="upstream", APP__UPSTREAM__URLS=upstream.url, SOCKET__NAMESPACES="/,/custom", **settings)
    try:
        yield node
    finally:
        node.stop()


@pytest.fixture(scope="module")
def upstream():
    server = PythonServer(prepare=handlers)
    yield server
    server.stop()


@pytest.fixture(scope="module")
def front(upstream):
    with in_front_of(upstream) as node:
        yield node


def every_way(test):
    for mark in by_every_way:
        test = mark(test)
    return test


@every_way
def test_values_and_binary_both_ways_in_two_namespaces(front, driver, transports):
    async def run():
        async with connected(driver, front, transports, ["/", "/custom"], {"token": "good"}) as client:
            for namespace in ["/custom", "/"]:
                assert await client.next(namespace) == ("welcome", namespace, {"token": "good"})
                await client.emit("say", "said", *VALUES, namespace=namespace)
                assert await client.next(namespace) == ("said", *VALUES)

    asyncio.run(run())


@every_way
def test_the_upstream_answers(front, driver, transports):
    async def run():
        async with connected(driver, front, transports) as client:
            assert await client.call("echo", "one") == "one"
            assert tuple(await client.call("echo", *VALUES)) == VALUES
            acks = await asyncio.gather(*(client.call("echo", number) for number in range(20)))
            assert acks == list(range(20))

    asyncio.run(run())


@every_way
def test_the_client_answers(front, driver, transports):
    async def run():
        client = driver()
        # A handler of the client acks by what it returns, and both kinds of client take a plain function.
        client.client.on("question", lambda *args: {"received": list(args)})
        await client.opened(front.url, transports)
        try:
            assert await client.call("ask me", *VALUES) == {"received": list(VALUES)}
        finally:
            await client.close()

    asyncio.run(run())


@every_way
def test_the_upstream_rejects_a_client_with_its_own_message(front, driver, transports):
    async def run():
        client = driver()
        with pytest.raises(socketio.exceptions.ConnectionError):
            await client.opened(front.url, transports, {"token": "bad"})
        rejection = await asyncio.wait_for(client.rejected.get(), TIMEOUT)
        assert rejection == ({"message": "not you", "data": {"code": 7}},)

    asyncio.run(run())


@every_way
def test_a_burst_arrives_in_order(front, driver, transports):
    async def run():
        async with connected(driver, front, transports) as client:
            await client.next()
            for number in range(200):
                await client.emit("say", "number", number, *([b"odd"] if number % 2 else []))
            expected = [("number", number, b"odd") if number % 2 else ("number", number) for number in range(200)]
            assert [await client.next() for _ in range(200)] == expected

    asyncio.run(run())


@every_way
def test_rooms_are_those_of_the_upstream(front, driver, transports):
    async def run():
        async with connected(driver, front, transports) as member, connected(driver, front, ["websocket"]) as other:
            await member.next(), await other.next()
            assert await member.call("enter", "r") == "entered"
            await other.emit("tell", "r", 1, b"2")
            assert await member.next() == ("told", 1, b"2")
            assert other.received["/"].empty()

    asyncio.run(run())


@every_way
def test_the_upstream_sends_a_client_away(front, driver, transports):
    async def run():
        async with connected(driver, front, transports) as client:
            await client.emit("leave me")
            assert await client.end() == ("server disconnect",)

    asyncio.run(run())


@every_way
def test_the_upstream_hears_that_a_client_left(upstream, front, driver, transports):
    """A python client hangs up at once: whether its DISCONNECT packet is out by then is luck, with and without us."""

    async def reason(url):
        async with connected(driver, upstream, ["websocket"]) as witness:
            # What others leave behind from tests before comes before the welcome of the leaver.
            leaver = await driver().opened(url, transports)
            await leaver.next()
            while not witness.received["/"].empty():
                await witness.next()
            await leaver.close()
            return await witness.next()

    async def run():
        for url in (front.url, upstream.url):
            assert await reason(url) in [("left", "client disconnect"), ("left", "transport close")]

    asyncio.run(run())


def test_clients_come_back_after_the_upstream_was_away():
    async def run():
        upstream = PythonServer(prepare=handlers)
        with in_front_of(upstream) as node:
            client = socketio.AsyncClient(reconnection_delay=0.1, reconnection_delay_max=0.5)
            welcomes, ended = asyncio.Queue(), asyncio.Queue()
            client.on("welcome", lambda *_: welcomes.put_nowait(client.sid))
            client.on("disconnect", ended.put_nowait)
            await client.connect(node.url, transports=["websocket"])
            first = await asyncio.wait_for(welcomes.get(), TIMEOUT)
            await asyncio.to_thread(upstream.stop)
            # Its name for a websocket that the server closes, whatever the code.
            assert await asyncio.wait_for(ended.get(), TIMEOUT) == "transport error"
            again = await asyncio.to_thread(PythonServer, prepare=handlers, port=upstream.port)
            assert await asyncio.wait_for(welcomes.get(), TIMEOUT) != first
            assert await client.call("echo", "again", timeout=TIMEOUT) == "again"
            await client.disconnect()
            again.stop()

    asyncio.run(run())

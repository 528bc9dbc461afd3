"""The client of examples/recovery, stock python-socketio, continues its session after its node was killed."""
import asyncio
import contextlib
import sys

import pytest
import socketio

from programs import ROOT, TIMEOUT, Node, Redis

sys.path.insert(0, str(ROOT / "examples/recovery"))
from client import Recovering  # noqa: E402


async def until(what, probe):
    """As `programs.until`, while the event loop goes on."""
    async with asyncio.timeout(TIMEOUT):
        while not probe():
            await asyncio.sleep(0.01)


async def survives(one, two, transport):
    recovering, numbers, sessions, losses = Recovering(), [], [], []
    client = socketio.AsyncClient(reconnection_delay=0.1, reconnection_delay_max=0.3)
    publisher = socketio.AsyncClient()

    async def joined(gap):
        sessions.append(gap)
        await client.emit("roomwire:join", "news", callback=sessions.append)

    recovering.follow(client, joined, {"n": numbers.append})
    client.on("disconnect", losses.append)
    await client.connect(one.url, auth=recovering, transports=[transport])
    await until("a join", lambda: len(sessions) == 2)
    await publisher.connect(two.url, transports=["websocket"])
    sent = 0

    async def emit(count):
        nonlocal sent
        for _ in range(count):
            sent += 1
            assert (await publisher.call("roomwire:emit", ("news", "n", sent), timeout=TIMEOUT))["ok"]

    for kills in range(1, 4):
        await emit(5)
        await asyncio.to_thread(one.kill)
        await emit(20)
        await until("the loss", lambda: len(losses) == kills)
        await asyncio.to_thread(one.start)
        await until("a session", lambda: client.connected)
        await emit(5)
        await until("all events", lambda: len(numbers) >= sent)
        assert numbers == list(range(1, sent + 1))
    assert len(sessions) == 2, "no new session"
    await publisher.disconnect()
    await client.disconnect()


@pytest.mark.parametrize("transport", ["polling", "websocket"])
def test_everything_is_received_once_and_in_order_over_kills_of_the_node(transport):
    with contextlib.ExitStack() as stack:
        redis = Redis()
        stack.callback(redis.stop)
        settings = dict(APP__KIND="relay", BUS__REDIS_URL=redis.url, RECOVERY__NAMESPACES="/")
        one, two = (Node(**settings) for _ in range(2))
        stack.callback(one.stop)
        stack.callback(two.stop)
        asyncio.run(survives(one, two, transport))

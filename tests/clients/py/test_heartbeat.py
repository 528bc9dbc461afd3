"""Connections of every stock client live longer than they would without its pongs."""
import asyncio

from programs import Node
from test_clients import DRIVERS, TRANSPORTS


def test_pongs_keep_connections():
    async def run(node):
        clients = [await driver().opened(node.url, transports) for driver in DRIVERS.values() for transports in TRANSPORTS.values()]
        # Longer than interval and timeout together.
        await asyncio.sleep(5)
        for client in clients:
            assert await client.call("message-with-ack", 1) == 1
            assert client.ended.empty()
            await client.close()

    node = Node(APP__KIND="echo", ENGINE__PING_INTERVAL="300ms", ENGINE__PING_TIMEOUT="4s")
    try:
        asyncio.run(run(node))
    finally:
        node.stop()

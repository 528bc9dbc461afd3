"""The stock python-socketio clients at a limit: they learn of it, and are in as soon as there is room."""
import asyncio

import pytest
import socketio

from drivers import Asynchronous, Synchronous
from programs import TIMEOUT, Node

TRANSPORTS = {"polling": ["polling"], "websocket": ["websocket"]}
LIMITS = {"node": {"LIMITS__CONNECTIONS": "1"}, "address": {"LIMITS__CONNECTIONS_PER_IP": "1"}}


@pytest.fixture(params=LIMITS.values(), ids=LIMITS.keys())
def full(request):
    node = Node(**request.param)
    yield node
    node.stop()


class Patient(Synchronous):
    """Tries again as the client does by default."""

    def make(self):
        return socketio.Client(reconnection_delay=0.05, reconnection_delay_max=0.2)


class PatientAsynchronous(Asynchronous):
    def make(self):
        return socketio.AsyncClient(reconnection_delay=0.05, reconnection_delay_max=0.2)


@pytest.mark.parametrize("driver", [Patient, PatientAsynchronous], ids=["sync", "asyncio"])
@pytest.mark.parametrize("transports", TRANSPORTS.values(), ids=TRANSPORTS.keys())
def test_rejected_then_admitted_when_there_is_room(full, driver, transports):
    async def run():
        first = await driver().opened(full.url, transports)
        second = driver()
        with pytest.raises(socketio.exceptions.ConnectionError):
            await second.opened(full.url, transports)
        await asyncio.wait_for(second.rejected.get(), TIMEOUT)
        options = dict(transports=transports, wait_timeout=TIMEOUT, retry=True)
        trying = asyncio.create_task(second.does(second.client.connect, full.url, **options))
        await asyncio.wait_for(second.rejected.get(), TIMEOUT)
        await first.close()
        await asyncio.wait_for(trying, TIMEOUT)
        assert second.client.connected
        await second.close()

    asyncio.run(run())

"""Fixtures: a watchdog over every test, and a cluster of two nodes, Redis and a stock python-socketio server."""
import contextlib
import faulthandler
import os

import pytest
import redis

from member import Person, PythonServer
from programs import Node, Redis, until

WATCHDOG_SECONDS = 300


@pytest.fixture(autouse=True)
def watchdog():
    """A test that hangs ends the run with every thread's stack instead of waiting for ever."""
    faulthandler.dump_traceback_later(WATCHDOG_SECONDS, exit=True, file=os.fdopen(os.dup(2), "w"))
    yield
    faulthandler.cancel_dump_traceback_later()


class Cluster:
    """Two Roomwire nodes and a python-socketio server on one Redis."""

    def __init__(self, stack):
        def started(program):
            stack.callback(program.stop)
            return program

        self.redis = started(Redis())
        settings = dict(
            APP__KIND="relay",
            SOCKET__NAMESPACES="/,/custom",
            BUS__REDIS_URL=self.redis.url,
            BUS__PYTHON="on",
            BUS__PYTHON_ROOM_CHANNELS="on",
        )
        self.one, self.two = (started(Node(**settings)) for _ in range(2))
        listening = self.subscribers()
        self.python = started(PythonServer(self.redis.url))
        # It listens to the bus from its first client on.
        Person(self.python.url).close()
        until("subscription of the python server", lambda: self.subscribers() > listening)

    def subscribers(self):
        with redis.Redis.from_url(self.redis.url) as connection:
            return dict(connection.pubsub_numsub("socketio"))[b"socketio"]

    @property
    def members(self):
        return self.one, self.two, self.python


@pytest.fixture(scope="module")
def cluster():
    with contextlib.ExitStack() as stack:
        yield Cluster(stack)


@pytest.fixture
def people():
    """Opens clients that are closed when the test ends."""
    with contextlib.ExitStack() as stack:

        def person(member, *args, **options):
            opened = Person(member.url, *args, **options)
            stack.callback(opened.close)
            return opened

        yield person


@pytest.fixture(scope="module")
def echo():
    node = Node(APP__KIND="echo", SOCKET__NAMESPACES="/,/custom")
    yield node
    node.stop()


@pytest.fixture(scope="module")
def relay():
    node = Node(APP__KIND="relay")
    yield node
    node.stop()

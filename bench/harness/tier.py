"""The socket tiers of bench/reliability: their nodes, Redis and balancer, which can be stopped and started."""

import contextlib
import os
import signal
import tempfile
import time
from dataclasses import dataclass, field
from pathlib import Path

from . import balancer, servers
from .processes import Process
from .servers import BENCH, HOST

# The key of Roomwire's API has at least 16 characters. The peers have no key, or the same.
KEY = servers.API_KEY
# Another build to measure.
ROOMWIRE = Path(os.environ.get("ROOMWIRE_BIN", BENCH.parent / "target/dist/roomwire"))
# The parameters of the published benchmark.
PING_INTERVAL, PING_TIMEOUT, WINDOW = 3000, 6000, 120_000
# HAProxy includes a node again after one check, which it does each second.
BALANCER_CHECK = 1.5
REDIS_OUTAGE = 2.0


@dataclass(frozen=True)
class Row:
    """A kind of socket tier. Its variables may contain {port}, {internal} and {redis}."""

    title: str
    # The step of install.prepare.
    package: str
    command: tuple
    environment: dict
    nodes: int = 1
    has_redis: bool = False
    # Whether HTTP requests of the backend go to the port of the clients.
    api_is_public: bool = True
    # The `auth` of the clients.
    auth: dict = field(default_factory=dict)
    # Whether a client may lose nothing, and what it loses without a Redis is named.
    must_deliver: bool = False
    # Whether it is part of a run that names no rows.
    is_default: bool = True


PEER_PINGS = {"PING_INTERVAL": str(PING_INTERVAL), "PING_TIMEOUT": str(PING_TIMEOUT)}
NODE = {"PORT": "{port}", "API_KEY": KEY, **PEER_PINGS}
NODE_COMMAND = ("node", str(BENCH / "peers/node/server.js"))
ROOMWIRE_NODE = {
    "ROOMWIRE_SERVER__BIND": HOST + ":{port}",
    "ROOMWIRE_SERVER__INTERNAL_BIND": HOST + ":{internal}",
    "ROOMWIRE_ENGINE__PING_INTERVAL": f"{PING_INTERVAL}ms",
    "ROOMWIRE_ENGINE__PING_TIMEOUT": f"{PING_TIMEOUT}ms",
    "ROOMWIRE_RECOVERY__NAMESPACES": "/",
    "ROOMWIRE_RECOVERY__WINDOW": f"{WINDOW}ms",
    "ROOMWIRE_API__KEY": KEY,
    "ROOMWIRE_LOG__FILTER": "warn",
}
ROOMWIRE_CLUSTER = {
    **ROOMWIRE_NODE,
    "ROOMWIRE_BUS__REDIS_URL": "{redis}",
    "ROOMWIRE_SERVER__TRUSTED_PROXIES": HOST,
    "ROOMWIRE_SERVER__WORKERS": "1",
}
RECOVER = {"roomwire": {"recover": True}}
ROWS = {
    "node": Row("Socket.IO", "node", NODE_COMMAND, NODE),
    "node-recovery": Row(
        "Socket.IO, recovery in memory", "node", NODE_COMMAND, {**NODE, "RECOVERY_WINDOW": str(WINDOW)}
    ),
    "node-streams": Row(
        "Socket.IO, recovery over redis-streams, 2 nodes",
        "node",
        NODE_COMMAND,
        {**NODE, "RECOVERY_WINDOW": str(WINDOW), "REDIS_URL": "{redis}"},
        nodes=2,
        has_redis=True,
    ),
    "socketioxide": Row(
        "socketioxide",
        "socketioxide",
        (str(BENCH / "peers/socketioxide/target/release/socketioxide-peer"),),
        {"PORT": "{port}", **PEER_PINGS},
    ),
    "roomwire": Row(
        "Roomwire, 1 node, memory",
        "roomwire",
        (str(ROOMWIRE),),
        ROOMWIRE_NODE,
        api_is_public=False,
        auth=RECOVER,
        must_deliver=True,
    ),
    "roomwire-cluster": Row(
        "Roomwire, 3 nodes, Redis",
        "roomwire",
        (str(ROOMWIRE),),
        ROOMWIRE_CLUSTER,
        nodes=3,
        has_redis=True,
        api_is_public=False,
        auth=RECOVER,
        must_deliver=True,
    ),
    # The same servers; the clients reconnect without recovery.
    "roomwire-plain": Row(
        "Roomwire, 3 nodes, clients without recovery",
        "roomwire",
        (str(ROOMWIRE),),
        ROOMWIRE_CLUSTER,
        nodes=3,
        has_redis=True,
        api_is_public=False,
        is_default=False,
    ),
}


@dataclass(frozen=True)
class Tier:
    """A running socket tier."""

    # Where clients connect.
    url: str
    nodes: list
    redis: Process | None
    balancer: Process | None
    # Addresses of the HTTP API, one for each node.
    apis: list

    def cpu(self):
        """CPU seconds by part so far."""
        parts = {"server": self.nodes, "redis": [self.redis], "balancer": [self.balancer]}
        return {name: sum(one.cpu() for one in group if one) for name, group in parts.items() if group[0]}

    def restart(self, nodes):
        """SIGTERM to these nodes, which start again when all of them have ended."""
        for node in nodes:
            node.send(signal.SIGTERM)
        self._start_again(nodes)

    def kill(self, nodes):
        """SIGKILL to these nodes, and start."""
        for node in nodes:
            node.send(signal.SIGKILL)
        self._start_again(nodes)

    def _start_again(self, nodes):
        for node in nodes:
            node.wait()
        for node in nodes:
            node.start()

    def restart_redis(self):
        """SIGTERM to Redis, which writes its data, and start after an outage."""
        self.redis.send(signal.SIGTERM)
        self.redis.wait()
        time.sleep(REDIS_OUTAGE)
        self.redis.start()


def missing(row):
    """The program that this row needs and the machine does not have, or None."""
    if row.has_redis and servers.redis_program() is None:
        return "redis-server or valkey-server"
    if row.nodes > 1 and balancer.program() is None:
        return "haproxy"
    return None


def ports(row, port):
    """The ports that a tier uses: for clients, then for each node two, and for Redis."""
    nodes = [port + 1 + number for number in range(row.nodes)] if row.nodes > 1 else [port]
    return nodes, [port + 10 + number for number in range(row.nodes)], port + 20


@contextlib.contextmanager
def running(row, port):
    """Starts Redis, the nodes and, in front of several nodes, HAProxy."""
    public, internal, redis_port = ports(row, port)
    for used in {port, *public, *internal, redis_port}:
        if servers.port_open(used)():
            raise servers.Failed(f"port {used} is in use: choose others with --port")
    with contextlib.ExitStack() as stack:

        def started(process):
            stack.callback(process.close)
            process.start()
            return process

        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        redis = started(redis_process(redis_port, folder)) if row.has_redis else None
        addresses = {"redis": f"redis://{HOST}:{redis_port}"}
        nodes = [
            started(node_process(row, {**addresses, "port": one, "internal": other}))
            for one, other in zip(public, internal)
        ]
        front = started(balancer_process(port, public, folder)) if row.nodes > 1 else None
        apis = [f"{HOST}:{one}" for one in (public if row.api_is_public else internal)]
        yield Tier(f"http://{HOST}:{port}", nodes, redis, front, apis)


def node_process(row, addresses):
    """One node."""
    environment = {name: value.format(**addresses) for name, value in row.environment.items()}
    return Process(row.title, row.command, environment, servers.http_ready(addresses["port"], "/readyz"))


def redis_process(port, folder):
    """A Redis that keeps its data over a restart, by a snapshot when it ends."""
    command = [servers.redis_program(), "--bind", HOST, "--port", str(port), "--dir", str(folder)]
    return Process("Redis", [*command, "--save", "3600 1", "--appendonly", "no"], {}, servers.port_open(port))


def balancer_process(port, nodes, folder):
    """HAProxy with the shipped configuration."""
    path = folder / "haproxy.cfg"
    balancer.write_configuration(path, f"{HOST}:{port}", [f"{HOST}:{node}" for node in nodes])
    return Process("HAProxy", [balancer.program(), "-db", "-f", str(path)], {}, servers.port_open(port))

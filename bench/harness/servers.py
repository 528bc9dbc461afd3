"""The servers under test: how to start each, detect that it is ready, and stop it."""

import contextlib
import enum
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

from .scrape import Scraper

BENCH = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
START_TIMEOUT = 20
STOP_TIMEOUT = 5


class Failed(Exception):
    """A run without a result; the message is the reason."""


class Setup(enum.Enum):
    """What a scenario requires of a server."""

    RELAY = "the relay events"
    API = "an HTTP API for backends"
    TOKENS = "clients with tokens"
    WEBHOOK = "an HTTP backend that decides events"
    DEFLATE = "compression of websockets"
    MIXED = "clients of several protocols"
    EMITTER = "a backend that publishes with @socket.io/redis-emitter"


@dataclass(frozen=True)
class Server:
    """One program under test. Its variables may contain {bind}, {port}, {internal} and {backend}."""

    command: tuple
    environment: dict
    # The additional variables of each setup that it supports besides RELAY.
    setups: dict = field(default_factory=dict)
    # "bind" or "internal": the address of its HTTP API.
    api: str = "bind"
    # The variable for the Redis URL; None if it does not support a cluster.
    redis_variable: str | None = None
    # Path that returns 200 once the server is ready; None if an open port means that.
    ready_path: str | None = None
    # Whether its metrics are scraped once a second, on the port from `internal`.
    scraped: bool = False
    # The auth payload of idle clients, as JSON.
    auth: str | None = None


# The credentials of runs that need some.
API_KEY = "key-of-the-benchmark"
TOKEN_SECRET = "secret-of-the-benchmark"
# Clients connect from 200 addresses, but the HTTP API is used faster than one key may by default.
ROOMWIRE_SETUPS = {
    Setup.API: {
        "ROOMWIRE_SERVER__INTERNAL_BIND": "{internal}",
        "ROOMWIRE_API__KEY": API_KEY,
        "ROOMWIRE_API__REQUESTS_PER_SECOND": "0",
    },
    Setup.TOKENS: {"ROOMWIRE_AUTH__SECRET": TOKEN_SECRET},
    Setup.WEBHOOK: {
        "ROOMWIRE_APP__KIND": "webhook",
        "ROOMWIRE_WEBHOOK__URL": "http://{backend}/",
        "ROOMWIRE_WEBHOOK__EVENTS": "ask",
        "ROOMWIRE_WEBHOOK__SECRETS": "secret-of-the-benchmark",
    },
}
BACKEND = str(BENCH / "loadgen/target/release/backend")
RAW = str(BENCH / "loadgen/target/release/raw-writer")
ROOMWIRE_INTEROP = {
    Setup.DEFLATE: {"ROOMWIRE_ENGINE__WEBSOCKET_COMPRESSION": "true"},
    Setup.MIXED: {"ROOMWIRE_ENGINE__WEBSOCKET_COMPRESSION": "true", "ROOMWIRE_ENGINE__EIO3": "true"},
    Setup.EMITTER: {"ROOMWIRE_BUS__REDIS_URL": "redis://{backend}", "ROOMWIRE_BUS__NODE_ADAPTER": "emitters"},
}
SERVERS = {
    "raw": Server((RAW, "--bind", "{bind}"), {}),
    "raw2": Server((RAW, "--bind", "{bind}", "--threads", "2"), {}),
    "roomwire": Server(
        (str(BENCH.parent / "target/dist/roomwire"),),
        {"ROOMWIRE_SERVER__BIND": "{bind}"},
        {**ROOMWIRE_SETUPS, **ROOMWIRE_INTEROP},
        "internal",
        redis_variable="ROOMWIRE_BUS__REDIS_URL",
        ready_path="/readyz",
    ),
    # The same, scraped as by Prometheus, to measure the cost of that.
    "roomwire-scraped": Server(
        (str(BENCH.parent / "target/dist/roomwire"),),
        {"ROOMWIRE_SERVER__BIND": "{bind}", "ROOMWIRE_SERVER__INTERNAL_BIND": "{internal}"},
        ready_path="/readyz",
        scraped=True,
    ),
    # The same with recovery: each room has a log, and idle clients can be recovered.
    "roomwire-recovery": Server(
        (str(BENCH.parent / "target/dist/roomwire"),),
        {"ROOMWIRE_SERVER__BIND": "{bind}", "ROOMWIRE_RECOVERY__NAMESPACES": "/"},
        redis_variable="ROOMWIRE_BUS__REDIS_URL",
        ready_path="/readyz",
        auth='{"roomwire":{"recover":true}}',
    ),
    # Another build, to compare a change with the state before it.
    "roomwire-before": Server(
        (os.environ.get("ROOMWIRE_BEFORE", ""),),
        {"ROOMWIRE_SERVER__BIND": "{bind}"},
        ROOMWIRE_SETUPS,
        "internal",
        redis_variable="ROOMWIRE_BUS__REDIS_URL",
        ready_path="/readyz",
    ),
    "socketioxide": Server(
        (str(BENCH / "peers/socketioxide/target/release/socketioxide-peer"),), {"PORT": "{port}"}
    ),
    "node": Server(
        ("node", str(BENCH / "peers/node/server.js")),
        {"PORT": "{port}"},
        {
            Setup.API: {"API_KEY": API_KEY},
            Setup.TOKENS: {"TOKEN_SECRET": TOKEN_SECRET},
            Setup.WEBHOOK: {"WEBHOOK_URL": "http://{backend}"},
            Setup.DEFLATE: {"PER_MESSAGE_DEFLATE": "1"},
            Setup.EMITTER: {"REDIS_URL": "redis://{backend}"},
        },
        redis_variable="REDIS_URL",
    ),
    "python": Server(
        (str(BENCH / "peers/python/.venv/bin/python"), str(BENCH / "peers/python/server.py")),
        {"PORT": "{port}"},
        redis_variable="REDIS_URL",
    ),
}


@dataclass(frozen=True)
class Target:
    """The addresses for the load generator. In a cluster, `publish_at` is another node."""

    server: str
    publish_at: str
    # name -> process ids
    measure: dict
    api: str | None = None
    backend: str | None = None
    scraper: Scraper | None = None
    auth: str | None = None


def redis_program():
    """The Redis or Valkey server of this machine, or None."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


@contextlib.contextmanager
def running(name, port, cluster, setup):
    """Starts a server with what the setup requires, or two nodes and a Redis; stops all at the end."""
    server = SERVERS[name]
    with contextlib.ExitStack() as stack:
        if not cluster:
            measure = {}
            if setup == Setup.WEBHOOK:
                measure["backend"] = [stack.enter_context(http_backend(port + 2))]
            if setup == Setup.EMITTER:
                measure["redis"] = [stack.enter_context(redis_server(port + 2))]
            pid = stack.enter_context(node(name, server, port, server.setups.get(setup, {})))
            measure["server"] = [pid]
            bind = f"{HOST}:{port}"
            scraper = None
            if server.scraped:
                scraper = Scraper(internal(port))
                scraper.start()
                stack.callback(scraper.stop)
            places = addresses(port)
            yield Target(bind, bind, measure, places[server.api], places["backend"], scraper, server.auth)
            return
        redis_port = port + 2
        redis = stack.enter_context(redis_server(redis_port))
        url = {server.redis_variable: f"redis://{HOST}:{redis_port}"}
        first = stack.enter_context(node(name, server, port, url))
        second = stack.enter_context(node(name, server, port + 1, url))
        measure = {"server": [first, second], "redis": [redis]}
        yield Target(f"{HOST}:{port + 1}", f"{HOST}:{port}", measure)


def addresses(port):
    """What the variables of a server on `port` may contain. `backend` is Redis in a cluster and with an emitter."""
    return {
        "bind": f"{HOST}:{port}",
        "port": port,
        "backend": f"{HOST}:{port + 2}",
        "internal": internal(port),
    }


def internal(port):
    """The address of the metrics of a scraped server, and of the HTTP API of Roomwire."""
    return f"{HOST}:{port + 3}"


def node(name, server, port, extra):
    """One server process on `port`."""
    places = addresses(port)
    command = [part.format(**places) for part in server.command]
    variables = {**server.environment, **extra}
    environment = {key: value.format(**places) for key, value in variables.items()}
    ready = http_ready(port, server.ready_path) if server.ready_path else port_open(port)
    return process(name, command, environment, port, ready)


def http_backend(port):
    """The HTTP backend that accepts every webhook."""
    return process("the backend", [BACKEND, "--bind", f"{HOST}:{port}"], {}, port, port_open(port))


def redis_server(port):
    """A Redis without persistence."""
    command = [redis_program(), "--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no"]
    return process("Redis", command, {}, port, port_open(port))


@contextlib.contextmanager
def process(name, command, environment, port, ready):
    """Starts a process in its own process group; yields its id once it is ready."""
    if port_open(port)():
        raise Failed(f"port {port} is in use: choose others with --port")
    with tempfile.TemporaryFile("w+") as log:
        child = subprocess.Popen(
            command,
            env={**os.environ, **environment},
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            wait_until_ready(name, child, ready, log)
            yield child.pid
        finally:
            stop(child)


def wait_until_ready(name, child, ready, log):
    """Waits for `ready`; on failure, the error includes the last log lines of the server."""
    deadline = time.monotonic() + START_TIMEOUT
    while not ready():
        ended = child.poll() is not None
        if ended or time.monotonic() > deadline:
            log.seek(0)
            tail = log.read().strip().splitlines()[-3:]
            state = f"exited with {child.returncode}" if ended else f"is not ready after {START_TIMEOUT} s"
            raise Failed(f"{name} {state}: {' / '.join(tail)}")
        time.sleep(0.05)


def stop(child):
    """Terminates a process and its group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(STOP_TIMEOUT)
            return


def port_open(port):
    """Returns a check whether a process listens on the port."""

    def check():
        with socket.socket() as probe:
            return probe.connect_ex((HOST, port)) == 0

    return check


def http_ready(port, path):
    """Returns a check whether GET returns 200."""

    def check():
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=2) as response:
                return response.status == 200
        except OSError:
            return False

    return check

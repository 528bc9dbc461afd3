"""The servers under test: how each is started, found ready and stopped."""

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.request
from dataclasses import dataclass
from pathlib import Path

from .scrape import Scraper

BENCH = Path(__file__).resolve().parent.parent
HOST = "127.0.0.1"
START_TIMEOUT = 20
STOP_TIMEOUT = 5


class Failed(Exception):
    """A run that yields no figure, and why."""


@dataclass(frozen=True)
class Server:
    """One program under test. `environment` may hold {bind} and {port}."""

    command: tuple
    environment: dict
    # The variable that takes a Redis URL; None: there is no cluster with it.
    redis_variable: str | None = None
    # Path that answers 200 once the server can work; None: an open port says it.
    ready_path: str | None = None
    # Its metrics are read once a second, at one port above the last of the others.
    scraped: bool = False


RAW = str(BENCH / "loadgen/target/release/raw-writer")
SERVERS = {
    "raw": Server((RAW, "--bind", "{bind}"), {}),
    "raw2": Server((RAW, "--bind", "{bind}", "--threads", "2"), {}),
    "roomwire": Server(
        (str(BENCH.parent / "target/dist/roomwire"),),
        {"ROOMWIRE_SERVER__BIND": "{bind}"},
        redis_variable="ROOMWIRE_BUS__REDIS_URL",
        ready_path="/readyz",
    ),
    # The same, with a Prometheus: what reading the metrics costs.
    "roomwire-scraped": Server(
        (str(BENCH.parent / "target/dist/roomwire"),),
        {"ROOMWIRE_SERVER__BIND": "{bind}", "ROOMWIRE_SERVER__INTERNAL_BIND": "{internal}"},
        ready_path="/readyz",
        scraped=True,
    ),
    # Another build, to compare a change with what was before it.
    "roomwire-before": Server(
        (os.environ.get("ROOMWIRE_BEFORE", ""),),
        {"ROOMWIRE_SERVER__BIND": "{bind}"},
        redis_variable="ROOMWIRE_BUS__REDIS_URL",
        ready_path="/readyz",
    ),
    "socketioxide": Server(
        (str(BENCH / "peers/socketioxide/target/release/socketioxide-peer"),), {"PORT": "{port}"}
    ),
    "node": Server(
        ("node", str(BENCH / "peers/node/server.js")), {"PORT": "{port}"}, redis_variable="REDIS_URL"
    ),
    "python": Server(
        (str(BENCH / "peers/python/.venv/bin/python"), str(BENCH / "peers/python/server.py")),
        {"PORT": "{port}"},
        redis_variable="REDIS_URL",
    ),
}


@dataclass(frozen=True)
class Target:
    """What the load generator is pointed at. On a cluster `publish_at` is another node."""

    server: str
    publish_at: str
    # name -> process ids
    measure: dict
    scraper: Scraper | None = None


def redis_program():
    """The Redis or Valkey server of this machine, or None."""
    return shutil.which("redis-server") or shutil.which("valkey-server")


@contextlib.contextmanager
def running(name, port, cluster):
    """A fresh server, or two nodes and a Redis; all of it is stopped at the end."""
    server = SERVERS[name]
    with contextlib.ExitStack() as stack:
        if not cluster:
            pid = stack.enter_context(node(name, server, port, {}))
            bind = f"{HOST}:{port}"
            scraper = None
            if server.scraped:
                scraper = Scraper(internal(port))
                scraper.start()
                stack.callback(scraper.stop)
            yield Target(bind, bind, {"server": [pid]}, scraper)
            return
        redis_port = port + 2
        redis = stack.enter_context(redis_server(redis_port))
        url = {server.redis_variable: f"redis://{HOST}:{redis_port}"}
        first = stack.enter_context(node(name, server, port, url))
        second = stack.enter_context(node(name, server, port + 1, url))
        measure = {"server": [first, second], "redis": [redis]}
        yield Target(f"{HOST}:{port + 1}", f"{HOST}:{port}", measure)


def internal(port):
    """Where a scraped server shows its metrics."""
    return f"{HOST}:{port + 3}"


def node(name, server, port, extra):
    """One server process on `port`."""
    places = {"bind": f"{HOST}:{port}", "port": port, "internal": internal(port)}
    command = [part.format(**places) for part in server.command]
    environment = {key: value.format(**places) for key, value in server.environment.items()}
    ready = http_ready(port, server.ready_path) if server.ready_path else port_open(port)
    return process(name, command, {**environment, **extra}, port, ready)


def redis_server(port):
    """A Redis that keeps nothing."""
    command = [redis_program(), "--bind", HOST, "--port", str(port), "--save", "", "--appendonly", "no"]
    return process("Redis", command, {}, port, port_open(port))


@contextlib.contextmanager
def process(name, command, environment, port, ready):
    """Starts a process of its own group; yields its id once it is ready."""
    if port_open(port)():
        raise Failed(f"port {port} is taken: choose others with --port")
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
    """Waits for `ready`; a failure carries the last words of the server."""
    deadline = time.monotonic() + START_TIMEOUT
    while not ready():
        ended = child.poll() is not None
        if ended or time.monotonic() > deadline:
            log.seek(0)
            words = log.read().strip().splitlines()[-3:]
            state = f"ended with {child.returncode}" if ended else f"is not ready after {START_TIMEOUT} s"
            raise Failed(f"{name} {state}: {' / '.join(words)}")
        time.sleep(0.05)


def stop(child):
    """Ends a process and all of its group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(STOP_TIMEOUT)
            return


def port_open(port):
    """A check whether something listens."""

    def check():
        with socket.socket() as probe:
            return probe.connect_ex((HOST, port)) == 0

    return check


def http_ready(port, path):
    """A check whether GET answers 200."""

    def check():
        try:
            with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=2) as answer:
                return answer.status == 200
        except OSError:
            return False

    return check

"""The servers under test: how to start each, detect that it is ready, and stop it."""

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
    """A run without a result; the message is the reason."""


@dataclass(frozen=True)
class Server:
    """One program under test. `environment` may contain {bind}, {port} and {internal}."""

    command: tuple
    environment: dict
    # The variable for the Redis URL; None if it does not support a cluster.
    redis_variable: str | None = None
    # Path that returns 200 once the server is ready; None if an open port means that.
    ready_path: str | None = None
    # Whether its metrics are scraped once a second, on the port from `internal`.
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
    # The same, scraped as by Prometheus, to measure the cost of that.
    "roomwire-scraped": Server(
        (str(BENCH.parent / "target/dist/roomwire"),),
        {"ROOMWIRE_SERVER__BIND": "{bind}", "ROOMWIRE_SERVER__INTERNAL_BIND": "{internal}"},
        ready_path="/readyz",
        scraped=True,
    ),
    # Another build, to compare a change with the state before it.
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
    """The addresses for the load generator. In a cluster, `publish_at` is another node."""

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
    """Starts a server, or two nodes and a Redis; stops all of them at the end."""
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
    """The address of the metrics of a scraped server."""
    return f"{HOST}:{port + 3}"


def node(name, server, port, extra):
    """One server process on `port`."""
    addresses = {"bind": f"{HOST}:{port}", "port": port, "internal": internal(port)}
    command = [part.format(**addresses) for part in server.command]
    environment = {key: value.format(**addresses) for key, value in server.environment.items()}
    ready = http_ready(port, server.ready_path) if server.ready_path else port_open(port)
    return process(name, command, {**environment, **extra}, port, ready)


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

"""Programs under test: Roomwire nodes and a Redis, on free loopback ports.

Everything started here is killed at the end of the test process, however it ends.
"""
import atexit
import itertools
import os
import pathlib
import random
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parents[3]
BINARY = (ROOT / os.environ.get("ROOMWIRE_BIN", "target/debug/roomwire")).resolve()
HOST = "127.0.0.1"
TIMEOUT = 30.0
# Below Linux' ephemeral range, so that no outgoing connection takes a port while a node restarts.
PORTS = [int(port) for port in os.environ.get("ROOMWIRE_TEST_PORTS", "20000-31999").split("-")]

_running = set()


def until(what, probe, timeout=TIMEOUT):
    """Calls `probe` until it returns a truthy value, and returns that."""
    deadline = time.monotonic() + timeout
    while True:
        value = probe()
        if value:
            return value
        assert time.monotonic() < deadline, f"{what}: not within {timeout} s"
        time.sleep(0.01)


_ports = itertools.cycle(range(PORTS[0], PORTS[1] + 1))
for _ in range(random.randint(0, PORTS[1] - PORTS[0])):
    next(_ports)


def free_port():
    """A port that is free at the moment, and that nobody else in this process gets."""
    while True:
        port = next(_ports)
        with socket.socket() as probe:
            if probe.connect_ex((HOST, port)) != 0:
                return port


@atexit.register
def _kill_all():
    for process in list(_running):
        process.kill()


class Program:
    """A child process that can be killed and started again; its output is kept in a file."""

    def __init__(self):
        self.directory = pathlib.Path(tempfile.mkdtemp(prefix="roomwire-test-"))
        self.port = free_port()
        self.process = None

    def spawn(self, command, **environment):
        output = open(self.directory / "output", "ab")
        self.process = subprocess.Popen(
            [str(part) for part in command], env={**os.environ, **environment}, stdout=output, stderr=output
        )
        output.close()
        _running.add(self.process)
        until(f"{command[0]} ready", self._ready_or_dead, 30)

    def _ready_or_dead(self):
        assert self.process.poll() is None, f"ended with {self.process.returncode}:\n{self.output}"
        return self.ready()

    @property
    def output(self):
        return (self.directory / "output").read_text(errors="replace")

    def kill(self):
        self.process.kill()
        self.process.wait(10)
        _running.discard(self.process)

    def stop(self):
        if self.process.poll() is None:
            self.kill()
        shutil.rmtree(self.directory, ignore_errors=True)


class Node(Program):
    """A Roomwire node; keyword arguments are ROOMWIRE_* settings without that prefix."""

    def __init__(self, **settings):
        super().__init__()
        self.url = f"http://{HOST}:{self.port}"
        self.settings = {f"ROOMWIRE_{name}": value for name, value in settings.items()}
        self.start()

    def start(self):
        bind = f"{HOST}:{self.port}"
        self.spawn([BINARY, "serve"], RUST_LOG="info,roomwire=debug", ROOMWIRE_SERVER__BIND=bind, **self.settings)

    def readiness(self):
        """Status and text of /readyz; (0, "") if there is no response."""
        try:
            with urllib.request.urlopen(f"{self.url}/readyz", timeout=2) as response:
                return response.status, response.read().decode()
        except urllib.error.HTTPError as error:
            return error.code, error.read().decode()
        except OSError:
            return 0, ""

    def ready(self):
        return self.readiness()[0] == 200


class Redis(Program):
    """A Redis or Valkey without persistence."""

    def __init__(self):
        super().__init__()
        self.url = f"redis://{HOST}:{self.port}/0"
        self.start()

    def start(self):
        command = shutil.which("redis-server") or shutil.which("valkey-server")
        assert command, "neither redis-server nor valkey-server is installed: run scripts/install-test-tools"
        options = ["--bind", HOST, "--port", self.port, "--save", "", "--appendonly", "no", "--dir", self.directory]
        self.spawn([command, *options])

    def ready(self):
        try:
            with socket.create_connection((HOST, self.port), 2) as connection:
                connection.sendall(b"PING\r\n")
                return connection.recv(16).startswith(b"+PONG")
        except OSError:
            return False

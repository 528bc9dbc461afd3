"""The processes of the comparison: one Redis, two stock backends with one database, and Roomwire nodes in front."""

import contextlib
import os
import secrets
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
WORK = ROOT / ".work" / "open-webui"
BIN = os.environ.get("ROOMWIRE_BIN", str(ROOT / "target" / "debug" / "roomwire"))
SECRET = "only-for-this-comparison-" + secrets.token_hex(8)
ADMIN = {"email": "admin@example.org", "password": "Passw0rd!admin", "name": "Admin"}
START_TIME = 180


def free_port() -> int:
    """A port that is free at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Process:
    """A running program and its log. It is stopped with all its children."""

    def __init__(self, name: str, command: list[str], environment: dict[str, str] | None = None):
        self.name, self.command, self.environment = name, command, environment
        self.log = WORK / "logs" / f"{name}.log"
        self.log.parent.mkdir(parents=True, exist_ok=True)
        self.process = None
        self.start()

    def start(self) -> None:
        with open(self.log, "ab") as log:
            self.process = subprocess.Popen(
                self.command, env=self.environment, stdout=log, stderr=log, cwd=WORK, start_new_session=True
            )

    def ready(self) -> None:
        """Waits until the program serves requests."""

    def start_again(self) -> None:
        self.start()
        self.ready()

    def send(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def stop(self, number: int = signal.SIGTERM) -> None:
        self.send(number)
        try:
            self.process.wait(20)
        except subprocess.TimeoutExpired:
            self.send(signal.SIGKILL)
            self.process.wait()

    def wait_for(self, url: str) -> None:
        """Waits for a 200 response of the URL; fails with the end of the log."""
        deadline = time.monotonic() + START_TIME
        while time.monotonic() < deadline:
            if self.process.poll() is not None:
                break
            with contextlib.suppress(urllib.error.URLError, OSError):
                with urllib.request.urlopen(url, timeout=2) as response:
                    if response.status == 200:
                        return
            time.sleep(0.1)
        tail = self.log.read_text(errors="replace")[-3000:]
        raise RuntimeError(f"{self.name} does not start:\n{tail}")


class Redis(Process):
    """An empty Redis. If `options` enable persistence, it saves next to the database."""

    def __init__(self, *options: str):
        program = shutil.which("redis-server") or shutil.which("valkey-server")
        self.port = free_port()
        self.url = f"redis://127.0.0.1:{self.port}/0"
        data = WORK / "data"
        data.mkdir(parents=True, exist_ok=True)
        command = [program, "--bind", "127.0.0.1", "--port", str(self.port), "--dir", str(data), "--save", "", *options]
        super().__init__("redis", command)
        self.ready()

    def ready(self) -> None:
        deadline = time.monotonic() + 20
        while time.monotonic() < deadline:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.05)
        raise RuntimeError("redis does not start")


class Backend(Process):
    """A stock Open WebUI. The first one creates the database."""

    def __init__(self, number: int, redis: Redis, room_channels: bool):
        data = WORK / "data"
        data.mkdir(parents=True, exist_ok=True)
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(WORK),
            "DATA_DIR": str(data),
            "DATABASE_URL": f"sqlite:///{data}/webui.db",
            "WEBUI_SECRET_KEY": SECRET,
            "REDIS_URL": redis.url,
            "WEBSOCKET_REDIS_URL": redis.url,
            "WEBSOCKET_MANAGER": "redis",
            "WEBSOCKET_REDIS_ROOM_CHANNELS": str(room_channels),
            "WEBUI_ADMIN_EMAIL": ADMIN["email"],
            "WEBUI_ADMIN_PASSWORD": ADMIN["password"],
            "WEBUI_ADMIN_NAME": ADMIN["name"],
            "ENABLE_CHANNELS": "True",
            "ENABLE_NOTES": "True",
            "ENABLE_ENCRYPTED_CHANNELS": "True",
            "ENABLE_DIRECT_CONNECTIONS": "True",
            "ENABLE_OLLAMA_API": "False",
            "ENABLE_OPENAI_API": "False",
            "ENABLE_VERSION_UPDATE_CHECK": "False",
            "ENABLE_TITLE_GENERATION": "False",
            "ENABLE_TAGS_GENERATION": "False",
            "ENABLE_FOLLOW_UP_GENERATION": "False",
            "OFFLINE_MODE": "True",
            "HF_HUB_OFFLINE": "1",
            "RAG_EMBEDDING_ENGINE": "openai",
            "USE_SLIM_DOCKER": "true",
            "GLOBAL_LOG_LEVEL": "INFO",
        }
        program = str(Path(sys.executable).with_name("open-webui"))
        command = [program, "serve", "--host", "127.0.0.1", "--port", str(self.port)]
        super().__init__(f"backend-{number}", command, environment)
        self.ready()

    def ready(self) -> None:
        self.wait_for(f"{self.url}/health")


class Node(Process):
    """A Roomwire node in front of the backends, with the defaults of `app.kind = "open_webui"`."""

    def __init__(self, number: int, redis: Redis, upstreams: list[str], **more: str):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        environment = {
            "PATH": os.environ["PATH"],
            "RUST_LOG": os.environ.get("ROOMWIRE_LOG", "info,roomwire::app=debug"),
            "ROOMWIRE_SERVER__BIND": f"127.0.0.1:{self.port}",
            "ROOMWIRE_SERVER__WORKERS": "2",
            "ROOMWIRE_APP__KIND": "open_webui",
            "ROOMWIRE_APP__OPEN_WEBUI__UPSTREAMS": ",".join(upstreams),
            "WEBSOCKET_MANAGER": "redis",
            "WEBSOCKET_REDIS_URL": redis.url,
            "WEBUI_SECRET_KEY": SECRET,
            **more,
        }
        super().__init__(f"node-{number}", [BIN, "serve"], environment)
        self.ready()

    def ready(self) -> None:
        self.wait_for(f"{self.url}/readyz")


class Stock:
    """Redis and two backends, with a fresh database."""

    def __init__(self, room_channels: bool, *redis_options: str):
        shutil.rmtree(WORK / "data", ignore_errors=True)
        shutil.rmtree(WORK / "logs", ignore_errors=True)
        self.started: list[Process] = []
        try:
            self.redis = self.keep(Redis(*redis_options))
            self.backends = [self.keep(Backend(number, self.redis, room_channels)) for number in (1, 2)]
        except BaseException:
            self.stop()
            raise

    def keep(self, process):
        """Stops the process together with the others."""
        self.started.append(process)
        return process

    def node(self, number: int, **more: str) -> Node:
        return self.keep(Node(number, self.redis, [backend.url for backend in self.backends], **more))

    def stop(self) -> None:
        for process in reversed(self.started):
            process.stop()

"""The deployment under test: nginx in front of two stock backends and two Roomwire nodes, on one Redis.

`deployment.py` prints a line of JSON once everything runs, {"ready": …}, and then executes commands, one line of JSON each,
{"do": "kill", "what": "node-1"}, and prints one line per result. It ends at the end of its input.
"""

import json
import re
import shutil
import signal
import sys
import tempfile
from pathlib import Path

import redis

ROOT = Path(__file__).resolve().parents[3]
sys.path.insert(0, str(ROOT / "tests" / "open_webui"))

from services import ADMIN, WORK, Node, Process, Stock, free_port  # noqa: E402
from tcp_proxy import TcpProxy  # noqa: E402

CONFIG = ROOT / "deploy" / "open-webui" / "nginx.conf"


class Nginx(Process):
    """nginx with the documented file; only addresses differ."""

    def __init__(self, backends: list[int], nodes: list[int]):
        self.port = free_port()
        self.url = f"http://127.0.0.1:{self.port}"
        self.folder = Path(tempfile.mkdtemp(prefix="roomwire-nginx-"))
        # Workers that are not root must have access.
        self.folder.chmod(0o755)
        site = CONFIG.read_text().replace("listen 80;", f"listen 127.0.0.1:{self.port};")
        # nginx resolves a name in a variable to an `upstream` block first.
        for name, ports in (("open-webui", backends), ("roomwire", nodes)):
            site, found = re.subn(rf"\b{name}:8080;", f"{name};", site)
            assert found == 1, f"{CONFIG} has no {name}:8080"
            servers = " ".join(f"server 127.0.0.1:{port} max_fails=1 fail_timeout=2s;" for port in ports)
            site = f"upstream {name} {{ {servers} }}\n{site}"
        (self.folder / "site.conf").write_text(site)
        kinds = ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
        temporary = " ".join(f"{kind}_temp_path {self.folder}/{kind};" for kind in kinds)
        main = self.folder / "nginx.conf"
        main.write_text(
            f"daemon off; pid {self.folder}/pid; error_log stderr warn; events {{ worker_connections 1024; }}\n"
            f"http {{ include /etc/nginx/mime.types; access_log off; {temporary} include {self.folder}/site.conf; }}\n"
        )
        program = shutil.which("nginx", path="/usr/sbin:/sbin:/usr/bin:/usr/local/sbin")
        super().__init__("nginx", [program, "-e", "stderr", "-c", str(main)])
        self.wait_for(f"{self.url}/health")

    def stop(self, number: int = signal.SIGTERM) -> None:
        super().stop(number)
        shutil.rmtree(self.folder, ignore_errors=True)


class Deployment(Stock):
    """All processes by name, and the commands on them."""

    def __init__(self):
        # Saves at a stop, like the Redis of the tutorial.
        super().__init__(True, "--save", "30", "1")
        try:
            self.proxies = [TcpProxy(backend.port) for backend in self.backends]
            upstreams = [proxy.url for proxy in self.proxies]
            self.internal = [f"127.0.0.1:{free_port()}" for _ in (1, 2)]
            self.nodes = [
                self.node(number, upstreams, ROOMWIRE_SERVER__TRUSTED_PROXIES="127.0.0.1", ROOMWIRE_SERVER__INTERNAL_BIND=internal)
                for number, internal in enumerate(self.internal, 1)
            ]
            ports = [[one.port for one in group] for group in (self.backends, self.nodes)]
            self.nginx = self.keep(Nginx(*ports))
        except BaseException:
            self.stop()
            raise

    def node(self, number: int, upstreams: list[str], **more: str) -> Node:
        return self.keep(Node(number, self.redis, upstreams, **more))

    def process(self, name: str) -> Process:
        return next(process for process in self.started if process.name == name)

    def execute(self, do: str, what: str) -> dict:
        match do:
            case "stop" | "kill":
                self.process(what).stop(signal.SIGTERM if do == "stop" else signal.SIGKILL)
            case "start":
                self.process(what).start_again()
            case "forget":
                (WORK / "data" / "dump.rdb").unlink(missing_ok=True)
            case "cut":
                return {"connections": sum(proxy.cut() for proxy in self.proxies)}
            case "pool":
                with redis.Redis(port=self.redis.port, decode_responses=True) as client:
                    return {"sids": client.hkeys("open-webui:session_pool")}
            case _:
                raise ValueError(f"unknown command {do}")
        return {}


def main() -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    deployment = Deployment()
    try:
        metrics = [f"http://{internal}/metrics" for internal in deployment.internal]
        print(json.dumps({"ready": {"url": deployment.nginx.url, "admin": ADMIN, "metrics": metrics}}), flush=True)
        for line in sys.stdin:
            command = json.loads(line)
            try:
                result = deployment.execute(command["do"], command.get("what", ""))
            except Exception as error:
                result = {"error": f"{type(error).__name__}: {error}"}
            print(json.dumps(result), flush=True)
    finally:
        deployment.stop()


if __name__ == "__main__":
    main()

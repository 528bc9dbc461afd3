"""Scrapes are read by a strict OpenMetrics parser, and by a Prometheus that scrapes two busy nodes."""
import base64
import contextlib
import hashlib
import hmac
import http.server
import json
import shutil
import threading
import time
import urllib.parse
import urllib.request

import pytest
import redis
import socketio
from jsonschema import Draft202012Validator
from prometheus_client.openmetrics.parser import text_string_to_metric_families

from member import Person
from programs import HOST, ROOT, TIMEOUT, Node, Program, Redis, free_port, until

DEPLOY = ROOT / "deploy"
SECRET = "secret-of-the-tests-0123456789"
KEY = "key-of-the-tests-0123456789"


class Watched(Node):
    """A node with an internal listener."""

    def __init__(self, **settings):
        self.internal = f"{HOST}:{free_port()}"
        super().__init__(SERVER__INTERNAL_BIND=self.internal, **settings)

    def scrape(self):
        with urllib.request.urlopen(f"http://{self.internal}/metrics", timeout=TIMEOUT) as response:
            assert response.headers["Content-Type"].startswith("application/openmetrics-text; version=1.0.0")
            return response.read().decode()


class Prometheus(Program):
    """A Prometheus with the alert rules of the repository, scraping often."""

    def __init__(self, nodes):
        super().__init__()
        self.url = f"http://{HOST}:{self.port}"
        config = {
            "global": {"scrape_interval": "1s", "scrape_timeout": "1s", "evaluation_interval": "1s"},
            "rule_files": [str(DEPLOY / "prometheus/alerts.yaml")],
            "scrape_configs": [
                {"job_name": "roomwire", "static_configs": [{"targets": [node.internal for node in nodes]}]}
            ],
        }
        # JSON is YAML too.
        (self.directory / "prometheus.yaml").write_text(json.dumps(config))
        command = shutil.which("prometheus")
        assert command, "prometheus is not installed: run scripts/install-test-tools"
        self.spawn(
            [
                command,
                f"--config.file={self.directory / 'prometheus.yaml'}",
                f"--storage.tsdb.path={self.directory / 'data'}",
                f"--web.listen-address={HOST}:{self.port}",
            ]
        )

    def ready(self):
        with contextlib.suppress(OSError):
            return urllib.request.urlopen(f"{self.url}/-/ready", timeout=2).status == 200

    def query_api(self, path, **parameters):
        url = f"{self.url}/api/v1/{path}?{urllib.parse.urlencode(parameters)}"
        with urllib.request.urlopen(url, timeout=TIMEOUT) as response:
            return json.load(response)["data"]

    def query(self, expression):
        return self.query_api("query", query=expression)["result"]


@pytest.fixture(scope="module")
def bus():
    server = Redis()
    yield server
    server.stop()


class Returning:
    """A client that takes part in recovery, by polling, and is in the room of the test and in one with presence."""

    def __init__(self):
        self.auth = {"roomwire": {"recover": True}}

    def connect(self, node):
        """Connects without closing the connection before; returns whether its session continues."""
        url = f"{node.url}/socket.io/?EIO=4&transport=polling"

        def request(body=None):
            with urllib.request.urlopen(url, body and body.encode(), timeout=TIMEOUT) as response:
                return response.read().decode()

        url += f"&sid={json.loads(request()[1:])['sid']}"
        request(f"40{json.dumps(self.auth)}")
        text = ""
        while "roomwire:session" not in text:
            text += request() + "\x1e"
        [session] = [packet for packet in text.split("\x1e") if "roomwire:session" in packet]
        state = json.loads(session[2:])[1]
        self.auth["pid"] = state["pid"]
        if not state["recovered"]:
            for room in ("metrics", "team:1"):
                request(f'421["roomwire:join","{room}"]')
                while '"ok":true' not in request():
                    pass
        return state["recovered"]


@pytest.fixture(scope="module")
def nodes(bus, tmp_path_factory):
    file = tmp_path_factory.mktemp("settings") / "roomwire.toml"
    file.write_text('[[presence.rooms]]\npattern = "team:*"\n')
    with contextlib.ExitStack() as stack:

        def started(program):
            stack.callback(program.stop)
            return program

        settings = dict(
            CONFIG=str(file),
            APP__KIND="relay",
            BUS__REDIS_URL=bus.url,
            BUS__PING_INTERVAL="200ms",
            ENGINE__PING_INTERVAL="300ms",
            RECOVERY__NAMESPACES="/",
        )
        yield [started(Watched(**settings)) for _ in range(2)]


class Backend:
    """An HTTP backend: it accepts every webhook, and calls the API and writes to the stream of its own node."""

    def __init__(self, bus):
        self.requests = requests = []

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                requests.append(json.loads(body))
                self.send_response(200)
                self.send_header("Content-Length", "2")
                self.end_headers()
                self.wfile.write(b"{}")

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer((HOST, 0), Handler)
        threading.Thread(target=self.server.serve_forever, daemon=True).start()
        url = f"http://{HOST}:{self.server.server_port}/"
        self.bus = bus
        self.node = Watched(
            APP__KIND="webhook",
            API__KEY=KEY,
            AUTH__SECRET=SECRET,
            AUTH__REQUIRED="off",
            BUS__REDIS_URL=bus.url,
            BUS__PREFIX="backend",
            STREAM__KEY="outbox",
            WEBHOOK__URL=url,
            WEBHOOK__TIMEOUT="20s",
            WEBHOOK__NOTICES__URL=url,
            WEBHOOK__NOTICES__EVENTS="hello",
            WEBHOOK__NOTICES__DEBOUNCE="100ms",
        )

    def api(self, verb, **request):
        request = urllib.request.Request(
            f"http://{self.node.internal}/api/v1/{verb}",
            json.dumps(request).encode(),
            {"Authorization": f"Bearer {KEY}"},
        )
        with urllib.request.urlopen(request, timeout=TIMEOUT) as response:
            return json.load(response)

    def work(self):
        """A client connects with a token, one without, each emits; the backend uses the API and the stream."""
        for auth in ({"token": token("ada")}, None):
            client = socketio.Client(reconnection=False)
            client.connect(self.node.url, auth=auth, transports=["websocket"], wait_timeout=TIMEOUT)
            client.call("hello", ({"n": 1}, [2], "text"), timeout=TIMEOUT)
            self.api("join", sockets=[client.get_sid()], rooms=["lobby"])
            client.disconnect()
        self.api("revoke", token=f"token-{time.monotonic_ns()}")
        with redis.Redis.from_url(self.bus.url) as connection:
            connection.xadd("outbox", {"verb": "emit", "body": '{"everybody":true,"event":"e"}'})

    def stop(self):
        self.node.stop()
        self.server.shutdown()


def token(user):
    def encoded(content):
        return base64.urlsafe_b64encode(content).rstrip(b"=").decode()

    claims = {"sub": user, "exp": int(time.time()) + 60, "jti": "t1", "roomwire": {"rooms": ["lobby"]}}
    parts = [encoded(json.dumps(part).encode()) for part in ({"alg": "HS256", "typ": "JWT"}, claims)]
    signed = ".".join(parts)
    return f"{signed}.{encoded(hmac.digest(SECRET.encode(), signed.encode(), hashlib.sha256))}"


@pytest.fixture(scope="module")
def backend(bus):
    backend = Backend(bus)
    yield backend
    backend.stop()


@pytest.fixture
def room(nodes):
    """Two members of a room on each node."""
    with contextlib.ExitStack() as stack:
        members = [Person(node.url) for node in nodes for _ in range(2)]
        for member in members:
            stack.callback(member.close)
            member.join("metrics")
        yield members


def test_a_strict_parser_reads_a_scrape(nodes, room):
    room[0].publish("metrics", "hello", 1)
    for member in room[1:]:
        member.receives(("hello", 1))
    families = {family.name: family for family in text_string_to_metric_families(nodes[0].scrape())}
    assert families["roomwire_sessions"].type == "gauge"
    assert families["roomwire_disconnects"].type == "counter"
    assert families["roomwire_delivery_seconds"].type == "histogram"
    assert families["roomwire_build"].type == "info"
    assert families["process_cpu_seconds"].type == "counter"
    assert all(family.documentation.endswith(".") for family in families.values())
    sessions = {sample.labels["transport"]: sample.value for sample in families["roomwire_sessions"].samples}
    assert sessions == {"websocket": 2, "polling": 0}
    allowed = {"le", "transport", "direction", "reason", "result", "code", "outcome", "policy", "origin", "kind", "limit", "version", "node", "subject", "state", "url", "source", "client", "revision", "parser", "bytes"}
    labels = {label for family in families.values() for sample in family.samples for label in sample.labels}
    assert labels <= allowed


def queries():
    board = json.loads((DEPLOY / "grafana/roomwire.json").read_text())
    for panel in board["panels"]:
        for target in panel.get("targets", []):
            expression = target["expr"].replace("$__rate_interval", "5s").replace("$job", "roomwire")
            yield panel["title"], expression.replace("$instance", ".+")


# Panels that show nothing while nothing is wrong.
QUIET = {
    "Sessions ended, by reason",
    "Drain progress",
    "Requests rejected, by reason",
    "Rejected or delayed, by limit",
    "Dropped bus messages, by reason",
    "Upstream failures",
    # These nodes have neither upstreams nor TLS.
    "Upstreams that are up",
    "Certificate expires in",
}


def test_webhooks_have_the_form_that_the_document_describes(backend):
    backend.work()
    with urllib.request.urlopen(f"http://{backend.node.internal}/api/v1/openapi.json", timeout=TIMEOUT) as response:
        document = json.load(response)
    message = Draft202012Validator({**document, "$ref": "#/components/schemas/HookMessage"})
    notices = {"connected", "disconnected", "joined", "left", "room_occupied", "room_vacated", "event"}
    expected = {"connect", "event", "disconnect", "notices"} | notices

    def received():
        kinds = set()
        for request in list(backend.requests):
            kinds.add(request["type"])
            if request["type"] == "notices":
                kinds |= {notice["type"] for notice in request["data"]["notices"]}
        return kinds

    until("all kinds of webhooks", lambda: received() >= expected)
    for request in backend.requests:
        errors = [error.message for error in message.iter_errors(request)]
        assert errors == [], request
    # A wrong one is found.
    assert not message.is_valid({**backend.requests[0], "data": {}})


def test_prometheus_scrapes_and_every_panel_shows_something(nodes, room, backend):
    prometheus = Prometheus([*nodes, backend.node])
    try:
        until("all nodes scraped", lambda: len(prometheus.query('up{job="roomwire"} == 1')) == 3)
        number = 0
        returning = Returning()
        assert not returning.connect(nodes[0])

        def busy():
            nonlocal number
            number += 1
            room[0].publish("metrics", "tick", number)
            for member in room[1:]:
                member.receives(("tick", number))
            # One more client connects and disconnects.
            Person(nodes[1].url).close()
            assert returning.connect(nodes[number % 2])
            backend.work()

        missing = {title for title, _ in queries()} - QUIET

        def shown():
            busy()
            for title, expression in queries():
                values = [sample["value"][1] for sample in prometheus.query(expression)]
                if any(value != "NaN" for value in values):
                    missing.discard(title)
            return not missing

        until("every panel", shown, 120)
        idle = {
            "room_log_entries_total",
            "room_log_bytes_total",
            "room_log_memory_bytes",
            "recoveries_total",
            "recovery_events_total",
            "recovery_reads_total",
            "recovery_sessions",
            "presence_members",
            "presence_events_total",
        }

        def counted():
            busy()
            for sample in prometheus.query('{job="roomwire"} > 0'):
                idle.discard(sample["metric"]["__name__"].removeprefix("roomwire_"))
            return not idle

        until(f"values of {idle}", counted, 120)
        results = prometheus.query("sum by (result) (roomwire_recoveries_total) > 0")
        assert [sample["metric"]["result"] for sample in results] == ["recovered"]
        lag = "histogram_quantile(0.99, sum by (le) (rate(roomwire_bus_lag_seconds_bucket[5s])))"
        until("the lag", lambda: [0 < float(sample["value"][1]) < 10 for sample in prometheus.query(lag)] == [True])
        def rules():
            return prometheus.query_api("rules")["groups"][0]["rules"]

        until("rules evaluated", lambda: all(rule["health"] != "unknown" for rule in rules()))
        assert len(rules()) >= 12
        for rule in rules():
            assert rule["health"] == "ok", rule
        # A few clients are far below all limits, and all nodes are up.
        assert prometheus.query("ALERTS{alertstate='firing'}") == []
    finally:
        prometheus.stop()

"""One cell of bench/reliability: a tier, its clients, a backend that publishes, and what goes wrong meanwhile."""

import contextlib
import time
from dataclasses import dataclass

from . import fleet, processes, servers, tier
from .fleet import Fleet, percentile
from .publisher import Publisher

# Seconds before the first message, where the published benchmark has them and elsewhere.
SETTLE, SHORT_SETTLE = 5, 2
# Seconds of undisturbed messages before a fault, and of messages after it.
BEFORE_FAULT, AFTER_FAULT = 5.25, 2.5
# Beyond the time in which clients connect at their rate.
CONNECT_TIMEOUT = 60
BACK_TIMEOUT = 60
# Without a delivery for this long, nothing is on the way.
QUIET = 2.0
# A client notices the loss of its connection at once, and reports it within half a second.
NOTICE = 1.0


@dataclass(frozen=True)
class Scenario:
    """What happens while messages are published."""

    title: str
    # The head of its column in the table of README.md.
    column: str
    messages: int
    # Of the clients, in ms; they wait between half and one and a half of it.
    reconnection_delay: int = 2000
    cuts: bool = False
    # What is done to the tier, which may take several steps.
    fault: str | None = None
    # The row needs these.
    needs_nodes: bool = False
    needs_redis: bool = False
    # Whether the memory of a row without Redis is lost, and with it what it would have recovered.
    loses_memory: bool = False


SCENARIOS = {
    "drops": Scenario("connections cut, 2 s offline", "cut for 2 s", 120, cuts=True),
    "short-drops": Scenario("connections cut, 1 s offline", "cut for 1 s", 120, 1000, cuts=True),
    "restart": Scenario("restart of all nodes (SIGTERM)", "restart", 40, fault="restart", loses_memory=True),
    "kill": Scenario("kill -9 of a node", "kill -9", 40, fault="kill", loses_memory=True),
    "rolling": Scenario("rolling restart", "rolling restart", 40, fault="rolling", needs_nodes=True),
    "redis": Scenario("restart of Redis", "Redis restart", 40, fault="redis", needs_redis=True),
}


def faults(name, servers_under_test):
    """The steps of a fault."""
    nodes = servers_under_test.nodes
    return {
        "restart": [lambda: servers_under_test.restart(nodes)],
        "kill": [lambda: servers_under_test.kill(nodes[:1])],
        "rolling": [lambda node=node: servers_under_test.restart([node]) for node in nodes],
        "redis": [servers_under_test.restart_redis],
    }[name]


def measure(scenario, row, options):
    """Runs one cell; returns its figures, or the reason why there are none."""
    try:
        with contextlib.ExitStack() as stack:
            running = stack.enter_context(tier.running(row, options.port))
            auth, delay = row.auth, scenario.reconnection_delay
            clients = stack.enter_context(Fleet(options, running.url, auth, delay, options.cuts))
            ramp = options.clients / fleet.CONNECTS_PER_SECOND
            if not clients.wait(clients.all_ready, ramp + CONNECT_TIMEOUT):
                raise servers.Failed(f"only {clients.total('ready')} of {clients.count} clients connected")
            time.sleep(SETTLE if scenario.cuts else SHORT_SETTLE)
            return course(scenario, running, clients, options)
    except servers.Failed as failure:
        return {"failed": str(failure)}


def course(scenario, running, clients, options):
    """Publishes, disturbs, and waits until all clients are back."""
    before = usage(running, clients)
    publisher = Publisher(running.apis, min(scenario.messages, options.messages or scenario.messages))
    publisher.start()
    figures = {}
    try:
        if scenario.cuts:
            clients.send("cut")
        if scenario.fault:
            figures = disturb(scenario, running, clients)
        publisher.finish()
    finally:
        publisher.abort()
    clients.send("calm")
    clients.wait_until_quiet(QUIET, BACK_TIMEOUT)
    after = usage(running, clients)
    found = clients.finish(publisher.published, publisher.unconfirmed)
    return {**figures, **evaluate(found, publisher, clients.count), **difference(before, after)}


def usage(running, clients):
    """Time and CPU seconds so far, by part."""
    parts = {**running.cpu(), "clients": clients.cpu(), "bench": time.process_time()}
    return {"time": time.monotonic(), "machine": processes.busy_seconds(), **parts}


def difference(before, after):
    """What happened between two measurements of the usage."""
    spent = {name: after[name] - before[name] for name in after}
    seconds, machine = spent.pop("time"), spent.pop("machine")
    return {
        "seconds": round(seconds, 1),
        "cpu_s": {name: round(value, 2) for name, value in spent.items()},
        "foreign_cores": round(max(0.0, machine - sum(spent.values())) / seconds, 2),
    }


def disturb(scenario, running, clients):
    """Does the steps of the fault, each after all clients are back from the one before."""
    time.sleep(BEFORE_FAULT)
    back = []
    for step in faults(scenario.fault, running):
        began = time.monotonic()
        step()
        ready = time.monotonic() - began
        if running.balancer:
            time.sleep(tier.BALANCER_CHECK)
        time.sleep(NOTICE)
        clients.wait(clients.all_ready, BACK_TIMEOUT)
        back.append({"server_s": round(ready, 2), "clients_s": round(max(0, clients.last_ready() - began), 2)})
    time.sleep(AFTER_FAULT)
    return {"steps": back, "all_back_s": max(step["clients_s"] for step in back)}


def evaluate(found, publisher, count):
    """Figures of deliveries and connections. Delays in ms."""
    expected = len(publisher.published) * count
    counts = ("missing", "unnamed", "losers", "duplicates", "reordered", "absent", "rejoins")
    return {
        "messages": len(publisher.published),
        "unconfirmed": len(publisher.unconfirmed),
        "refusals": publisher.refusals,
        "publish_pause_s": round(publisher.longest_pause, 2),
        "expected": expected,
        "delivered_percent": 100 * (1 - found.get("missing", 0) / expected) if expected else 0.0,
        **{name: found.get(name, 0) for name in (*counts, "cuts", "reconnects", "recovered")},
        "reasons": found["reasons"],
        "delay_ms": distribution(found["delays"], 0.1),
        "absence_ms": distribution(found["absences"], 1),
        "catch_up_ms": distribution(found["catch_ups"], 1),
    }


def distribution(histogram, unit):
    shares = {"p50": 0.5, "p95": 0.95, "p99": 0.99, "max": 1.0}
    found = {name: percentile(histogram, share) for name, share in shares.items()}
    return {name: None if value is None else round(value * unit, 1) for name, value in found.items()}

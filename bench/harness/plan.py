"""The plan of a benchmark: scenarios, their sizes, and the order of runs."""

from dataclasses import dataclass

from . import servers, tokens
from .servers import Setup

# For 10 000 connections and everything else.
DESCRIPTORS = 12_000
VERIFY = "verify"
SCENARIOS = (VERIFY, "fanout", "ack", "idle", "connects", "emit", "batch", "webhook", "tokens", "cluster")
SCENARIOS += ("compression", "mixed", "emitter", "churn")
# Bytes of the JSON documents of compressed rooms.
DOCUMENT = ("--document", "2000")


@dataclass(frozen=True)
class Cell:
    """One row group of the tables: a scenario with its sizes."""

    scenario: str
    title: str
    # Subcommand and options of the load generator.
    command: tuple
    timeout: int = 240
    cluster: bool = False
    measured: bool = True
    setup: Setup = Setup.RELAY

    def arguments(self, target):
        """The load generator's whole command line."""
        words = [*self.command, "--server", target.server]
        if self.setup == Setup.API:
            words += ["--api", target.api, "--key", servers.API_KEY]
        if self.setup == Setup.TOKENS:
            words += ["--tokens", tokens.file()]
        elif target.auth and self.scenario == "idle":
            words += ["--auth", target.auth]
        if self.setup == Setup.WEBHOOK:
            words += ["--backend", target.backend]
        if self.cluster:
            words += ["--publish-at", target.publish_at]
        if self.measured:
            for name, pids in target.measure.items():
                words += ["--measure", f"{name}={','.join(map(str, pids))}"]
        if self.setup == Setup.EMITTER:
            words += ["--", "node", str(servers.BENCH / "peers/node/emitter.js"), f"redis://{target.backend}"]
        return words


def cells(quick):
    """Every cell, in the order of the report."""
    seconds = ("--seconds", "1" if quick else "5")
    count = "2000" if quick else "10000"
    churned = "5000" if quick else "100000"
    fanouts = [("1000", "1"), ("1000", "16")] if quick else [("1000", "1"), ("10000", "1"), ("1000", "16")]
    found = [Cell(VERIFY, VERIFY, ("verify",), timeout=120, measured=False)]
    found += [fanout_cell(members, burst, seconds) for members, burst in fanouts]
    found += [
        Cell("ack", "ack, 200 clients", ("ack", *seconds)),
        Cell("idle", f"idle, {count} connections", ("idle", "--count", count)),
        Cell("connects", f"connects, {count}", ("connects", "--count", count)),
        *backend_cells(count, seconds),
        cluster_cell("1000", "1", seconds),
        cluster_cell("1", "16", seconds),
        *interop_cells(seconds),
        Cell("churn", f"churn, 2 x {churned}", ("churn", "--count", churned), timeout=900),
    ]
    return found


def backend_cells(count, seconds):
    """What backends use: the HTTP API, webhooks, and tokens of users."""
    command = ("emit", *seconds)
    batch = (*command, "--batch", "20")
    idle, connects = (("idle", "--count", count), ("connects", "--count", count))
    return [
        Cell("emit", "HTTP API, an emit per request", command, setup=Setup.API),
        Cell("batch", "HTTP API, batches of 20 emits", batch, setup=Setup.API),
        Cell("webhook", "webhooks, 1000 events a second", ("webhook", *seconds), setup=Setup.WEBHOOK),
        Cell("tokens", f"idle, {count} connections with tokens", idle, setup=Setup.TOKENS),
        Cell("tokens", f"connects with tokens, {count}", connects, setup=Setup.TOKENS),
    ]


def interop_cells(seconds):
    """Compressed websockets, a room of several protocols, and an emitter over Redis; 1000 members each."""
    command = ("fanout", "--members", "1000", *seconds)
    mix = ("--mix", "json,msgpack,deflate,eio3")
    return [
        Cell("compression", "2 kB documents, compressed", (*command, *DOCUMENT, "--mix", "deflate"), setup=Setup.DEFLATE),
        Cell("compression", "2 kB documents, uncompressed", (*command, *DOCUMENT)),
        Cell("mixed", "100 bytes, one protocol", command, setup=Setup.MIXED),
        Cell("mixed", "100 bytes, four protocols", (*command, *mix), setup=Setup.MIXED),
        Cell("mixed", "2 kB documents, one protocol", (*command, *DOCUMENT), setup=Setup.MIXED),
        Cell("mixed", "2 kB documents, four protocols", (*command, *DOCUMENT, *mix), setup=Setup.MIXED),
        Cell("emitter", "emitter over Redis", command, setup=Setup.EMITTER),
    ]


def fanout_cell(members, burst, seconds):
    """Fan-out on one node."""
    title = f"fan-out, {members} members, {in_flight(burst)}"
    return Cell("fanout", title, ("fanout", "--members", members, "--burst", burst, *seconds))


def cluster_cell(members, burst, seconds):
    """Publish on node 1, deliver on node 2."""
    title = f"cluster, {members} member{'s' if members != '1' else ''}, {in_flight(burst)}"
    command = ("fanout", "--members", members, "--burst", burst, *seconds)
    return Cell("cluster", title, command, cluster=True)


def in_flight(burst):
    """How many broadcasts are in flight at a time, as text."""
    return "one at a time" if burst == "1" else f"bursts of {burst}"


def skip_reason(cell, name):
    """The reason why this server does not run this cell, or None."""
    if cell.cluster and servers.SERVERS[name].redis_variable is None:
        return "has no cluster of this kind"
    if cell.setup != Setup.RELAY and cell.setup not in servers.SERVERS[name].setups:
        return f"does not implement {cell.setup.value} here"
    if (cell.cluster or cell.setup == Setup.EMITTER) and servers.redis_program() is None:
        return "needs redis-server or valkey-server (apt install redis-server)"
    if name == "roomwire-before" and not servers.SERVERS[name].command[0]:
        return "needs ROOMWIRE_BEFORE, the path of another build"
    if name == "roomwire-scraped" and cell.scenario not in ("fanout", "idle"):
        return "only runs fan-out and idle"
    if name == "roomwire-recovery" and cell.scenario not in ("fanout", "idle", "cluster"):
        return "only runs fan-out, idle and cluster"
    if cell.scenario == "churn" and name == "python":
        return "takes several minutes at under 1 000 connects a second"
    if cell.scenario == "churn" and name.startswith("raw"):
        return "allocates nothing that could leak"
    return None


def steps(options, names):
    """(round, cell, server) in the order of the runs: each round runs all servers in turn."""
    selected = [cell for cell in cells(options.quick) if cell.scenario in (options.scenario or SCENARIOS)]
    for cell in selected:
        for name in names:
            if reason := skip_reason(cell, name):
                print(f"{cell.title}: {name} is skipped: {reason}")
    # Correctness and leaks do not vary from round to round.
    once = (VERIFY, "churn")
    return [
        (number, cell, name)
        for number in range(1, options.rounds + 1)
        for cell in selected
        for name in names
        if skip_reason(cell, name) is None and (number == 1 or cell.scenario not in once)
    ]

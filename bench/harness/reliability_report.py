"""Tables of bench/reliability, and its verdict about Roomwire."""

import time

from .report import FOREIGN_LIMIT, escape
from .reliability_run import SCENARIOS
from .tier import ROWS

HEAD = (
    "server", "delivered", "lost unnoticed", "duplicates", "out of order", "recovered",
    "p50", "p95", "p99", "max", "catch-up p99", "longest absence", "all back", "publish pause", "CPU s", "Redis + HAProxy", "clients", "remarks",
)  # fmt: skip
# What the table of README.md shows of each scenario.
SUMMARY = ("drops", "restart", "kill", "rolling", "redis")


def one_line(outcome):
    """A summary of one cell, for the progress display."""
    if "failed" in outcome:
        return "FAILED: " + outcome["failed"]
    delay = outcome["delay_ms"]
    parts = [
        f"delivered {percent(outcome)}",
        f"delay p50 {ms(delay['p50'])}, p99 {ms(delay['p99'])}, max {ms(delay['max'])}",
        f"longest absence {absence(outcome)}, all back {back(outcome)}",
        "CPU s " + ", ".join(f"{name} {spent:.1f}" for name, spent in outcome["cpu_s"].items()),
        remarks(outcome),
    ]
    return "; ".join(part for part in parts if part)


def problems(record):
    """What a row that promises delivery did not keep in this cell."""
    row, scenario = ROWS[record["server"]], SCENARIOS[record["scenario"]]
    if not row.must_deliver:
        return []
    if "failed" in record:
        return ["no result"]
    kinds = ["unnamed", "duplicates", "reordered", "absent"]
    if row.has_redis or not scenario.loses_memory:
        kinds.append("missing")
    return [f"{kind} {record[kind]}" for kind in kinds if record[kind]]


def markdown(records, versions):
    """All tables."""
    lines = [f"Measured {time.strftime('%Y-%m-%d %H:%M')} on {', '.join(versions)}.", ""]
    for clients, name in dict.fromkeys((record["clients"], record["scenario"]) for record in records):
        rows = [record for record in records if (record["clients"], record["scenario"]) == (clients, name)]
        lines += [f"### {SCENARIOS[name].title}, {clients:,} clients", "", *table(HEAD, map(cells, rows)), ""]
    if any(record.get("foreign_cores", 0) > FOREIGN_LIMIT for record in records):
        lines.append(f"\\* other programs used more than {FOREIGN_LIMIT} cores meanwhile.")
    return "\n".join(lines)


def summary(records):
    """The table of README.md: for each row what it delivered in each scenario."""
    found = {(record["server"], record["scenario"]): record for record in records}
    names = [name for name in SUMMARY if any(name == scenario for _, scenario in found)]
    head = ["delivered", *(SCENARIOS[name].column for name in names)]
    if "drops" in names:
        head.insert(2 + names.index("drops"), "p50, p99 of the delay")
    rows = []
    for server in dict.fromkeys(server for server, _ in found):
        row = [bold(server, ROWS[server].title)]
        for name in names:
            record = found.get((server, name))
            row.append(bold(server, percent(record)) if is_good(record) else "-")
            if name == "drops":
                row.append(f"{ms(record['delay_ms']['p50'])}, {ms(record['delay_ms']['p99'])}" if is_good(record) else "-")
        rows.append(row)
    return "\n".join(table(head, rows))


def table(head, rows):
    return [f"| {' | '.join(row)} |" for row in (head, ["---"] * len(head), *rows)]


def cells(record):
    """The row of one record."""
    title = ROWS[record["server"]].title
    if "failed" in record:
        return [title, *["-"] * (len(HEAD) - 2), escape("stopped: " + record["failed"])]
    delay = record["delay_ms"]
    recovered = f"{100 * record['recovered'] / record['reconnects']:.1f} %" if record["reconnects"] else "-"
    busy = " \\*" if record["foreign_cores"] > FOREIGN_LIMIT else ""
    counts = [f"{record[name]:,}" for name in ("unnamed", "duplicates", "reordered")]
    times = [*(delay[name] for name in ("p50", "p95", "p99", "max")), record["catch_up_ms"]["p99"]]
    spread = [*(ms(value) + (busy if value is not None else "") for value in times), absence(record)]
    spent = record["cpu_s"]
    beside = sum(spent.get(name, 0) for name in ("redis", "balancer"))
    cpu = [f"{seconds:.1f}" for seconds in (spent["server"], beside, spent["clients"])]
    pause = f"{record['publish_pause_s']:.1f} s"
    return [title, percent(record), *counts, recovered, *spread, back(record), pause, *cpu, escape(remarks(record))]


def remarks(record):
    """What is unusual about a cell."""
    names = {
        "absent": "never back",
        "rejoins": "joins repeated",
        "unconfirmed": "messages of unknown outcome",
    }
    found = [f"{record[key]} {name}" for key, name in names.items() if record.get(key)]
    gaps = record["reasons"].get("gap") or {}
    found += [f"gap {reason}: {count}" for reason, count in gaps.items()]
    if record["foreign_cores"] > FOREIGN_LIMIT:
        found.append(f"other programs used {record['foreign_cores']:.1f} cores")
    return "; ".join(found)


def is_good(record):
    return record is not None and "failed" not in record


def percent(record):
    """The share of deliveries, rounded down, so that only all are 100 %."""
    if not is_good(record):
        return "-"
    if record["missing"] == 0:
        return "100 %"
    return f"{int(record['delivered_percent'] * 100) / 100:.2f} %"


def absence(record):
    """The longest time for which a client was not in the room."""
    return ms(record["absence_ms"]["max"])


def back(record):
    """The time from the begin of a fault until all clients were back."""
    return f"{record['all_back_s']:.1f} s" if record.get("all_back_s") else "-"


def ms(value):
    """A time in ms as text."""
    if value is None:
        return "-"
    return f"{value / 1000:.2f} s" if value >= 1000 else f"{value:.0f} ms" if value >= 10 else f"{value:.1f} ms"


def bold(server, text):
    return f"**{text}**" if ROWS[server].must_deliver else text

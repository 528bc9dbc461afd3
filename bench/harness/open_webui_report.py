"""Tables of bench/open-webui: each figure of the stock socket tier beside Roomwire's, with their ratio."""

import time
from dataclasses import dataclass
from statistics import median
from typing import Callable

from . import open_webui_rest, report
from .open_webui import ROOMWIRE, STOCK
from .open_webui_plan import RATE

FAULTS = ("failed", *report.FAULTS)


@dataclass(frozen=True)
class Figure:
    """One row of a table. `value` is None where it does not apply."""

    name: str
    value: Callable
    form: str = "{:,.2f}"
    # The largest ratio of Roomwire to stock that is good enough, as this project wants it.
    target: float | None = None


def over_idle(run, stretch, group):
    """CPU seconds of a stretch beyond what the processes use without any socket."""
    idle = run["idle"]["cpu_s"][group] / run["idle"]["seconds"]
    return run[stretch]["cpu_s"][group] - idle * run[stretch]["seconds"]


def to_join(group):
    """CPU ms for each socket to connect, sign in and join."""
    return lambda run: over_idle(run, "joining", group) * 1e3 / run["count"] if group in run["idle"]["cpu_s"] else None


def to_stay(group):
    """CPU ms for each joined socket and minute, its two heartbeats included."""

    def value(run):
        if group not in run["idle"]["cpu_s"]:
            return None
        minutes = run["holding"]["seconds"] / 60
        return over_idle(run, "holding", group) * 1e3 / run["held"] / minutes

    return value


def memory(run):
    """Resident kB of each joined socket."""
    return (run["rss_kb_after"]["server"] - run["rss_kb_before"]["server"]) / run["count"]


def each_delivery(group):
    """CPU us of each delivery, which is seconds per million."""
    return lambda run: run["cpu_us_each"].get(group)


def cores(run):
    """Cores that the stream takes at its full pace, also where the server does not keep up."""
    return run["cpu_us_each"]["server"] * RATE * run["members"] / 1e6


FIGURES = {
    "joined": (
        Figure("CPU to connect and join, ms", to_join("server"), target=0.2),
        Figure("CPU to stay, ms a minute", to_stay("server"), target=0.2),
        Figure("memory, kB", memory, target=0.1),
        Figure("Redis, CPU to join, ms", to_join("redis"), "{:,.3f}"),
        Figure("Redis, CPU to stay, ms a minute", to_stay("redis"), "{:,.3f}"),
        Figure("backend asked over REST, CPU to join, ms", to_join("backend")),
        Figure("backend asked over REST, CPU to stay, ms a minute", to_stay("backend")),
        Figure("REST requests", lambda run: run["rest_calls"] / run["held"]),
        Figure("joins a second", lambda run: run["count"] / run["joining"]["seconds"], "{:,.0f}"),
    ),
    "stream": (
        Figure("CPU s per million deliveries", each_delivery("server"), target=0.1),
        Figure(f"cores at {RATE} events a second", cores),
        Figure("Redis, CPU s per million deliveries", each_delivery("redis"), "{:,.3f}"),
        Figure("deliveries a second", lambda run: run["per_second"], "{:,.0f}"),
        Figure("delay p50, ms", lambda run: run["p50_ms"], "{:,.1f}"),
        Figure("delay p99, ms", lambda run: run["p99_ms"], "{:,.1f}"),
    ),
}


def faults(run):
    """What makes a run worthless, in words."""
    return [f"{kind.replace('_', ' ')} {run[kind]}" for kind in FAULTS if run.get(kind)]


def one_line(run):
    """The essence of one run, for the progress display."""
    if "failed" in run:
        return "FAILED: " + run["failed"]
    if run["scenario"] == "rest":
        return "; ".join(f"{step['name']} {len(step['requests'])} in {step['times']}" for step in run["steps"])
    found = []
    for figure in FIGURES[run["scenario"]]:
        if value := figure.value(run):
            found.append(f"{figure.name} {figure.form.format(value)}")
    if run["foreign_cores"] > report.FOREIGN_LIMIT:
        found.append(f"others used {run['foreign_cores']:.1f} cores")
    return "; ".join(found + faults(run))


def markdown(records, versions):
    """All tables."""
    lines = [f"Measured {time.strftime('%Y-%m-%d %H:%M')} on {', '.join(versions)}.", ""]
    for title in dict.fromkeys(record["cell"] for record in records):
        of_cell = [one for one in records if one["cell"] == title]
        lines += [f"### {title}", "", *(open_webui_rest.markdown(of_cell) or table(of_cell)), ""]
    if any(one.get("foreign_cores", 0) > report.FOREIGN_LIMIT for one in records):
        lines.append(f"\\* other work used more than {report.FOREIGN_LIMIT} cores: take the figure as an upper limit.")
    return "\n".join(lines)


def table(records):
    """The table of one cell; runs that failed are named below it."""
    good = {name: [one for one in records if one["server"] == name and not faults(one)] for name in (STOCK, ROOMWIRE)}
    scenario = next((run["scenario"] for runs in good.values() for run in runs), None)
    lines = ["| each socket | stock | Roomwire | Roomwire / stock | wanted |", "|---|---|---|---|---|"]
    if scenario == "stream":
        lines[0] = lines[0].replace("each socket", "")
    for figure in FIGURES.get(scenario, ()):
        stock, ours = (report.middle(good[name], figure.value) for name in (STOCK, ROOMWIRE))
        if not stock and not ours:
            continue
        wanted = f"{figure.target:.2f}" if figure.target else ""
        ratio = f"{ours / stock:.3f}" if stock and ours else "-"
        cells = [show(good[name], figure) for name in (STOCK, ROOMWIRE)]
        lines.append(f"| {figure.name} | {' | '.join(cells)} | {ratio} | {wanted} |")
    bad = [f"{one['server']}, round {one['round']}: {'; '.join(faults(one))}" for one in records if faults(one)]
    return [*lines, *(["", *bad] if bad else [])]


def show(runs, figure):
    """A median with its span, and a mark for a busy machine."""
    value = report.middle(runs, figure.value)
    if not value:
        return "-"
    text = figure.form.format(value)
    if len(runs) > 1:
        values = [figure.value(run) for run in runs]
        text += f" ({figure.form.format(min(values))}-{figure.form.format(max(values))})"
    busy = median(run["foreign_cores"] for run in runs) > report.FOREIGN_LIMIT
    return text + (" \\*" if busy else "")

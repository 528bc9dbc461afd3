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
    # The ratio of Roomwire to stock must not exceed this.
    target: float | None = None


def over_idle(run, phase, group):
    """CPU seconds of a phase, minus what the processes use without any socket."""
    idle = run["idle"]["cpu_s"][group] / run["idle"]["seconds"]
    return run[phase]["cpu_s"][group] - idle * run[phase]["seconds"]


def join_cpu(group):
    """CPU ms per socket to connect, sign in and join."""
    return lambda run: over_idle(run, "joining", group) * 1e3 / run["count"] if group in run["idle"]["cpu_s"] else None


def hold_cpu(group):
    """CPU ms per joined socket and minute, including its two heartbeats."""

    def value(run):
        if group not in run["idle"]["cpu_s"]:
            return None
        minutes = run["holding"]["seconds"] / 60
        return over_idle(run, "holding", group) * 1e3 / run["held"] / minutes

    return value


def memory(run):
    """Resident kB per joined socket."""
    return (run["rss_kb_after"]["server"] - run["rss_kb_before"]["server"]) / run["count"]


def each_delivery(group):
    """CPU us per delivery, which is seconds per million."""
    return lambda run: run["cpu_us_each"].get(group)


def cores(run):
    """Cores that the stream requires at its full rate, even if the server cannot sustain it."""
    return run["cpu_us_each"]["server"] * RATE * run["members"] / 1e6


FIGURES = {
    "joined": (
        Figure("CPU to connect and join, ms", join_cpu("server"), target=0.2),
        Figure("CPU while joined, ms per minute", hold_cpu("server"), target=0.2),
        Figure("memory, kB", memory, target=0.1),
        Figure("Redis, CPU to join, ms", join_cpu("redis"), "{:,.3f}"),
        Figure("Redis, CPU while joined, ms per minute", hold_cpu("redis"), "{:,.3f}"),
        Figure("backend, CPU of REST requests to join, ms", join_cpu("backend")),
        Figure("backend, CPU of REST requests while joined, ms per minute", hold_cpu("backend")),
        Figure("REST requests", lambda run: run["rest_calls"] / run["held"]),
        Figure("joins per second", lambda run: run["count"] / run["joining"]["seconds"], "{:,.0f}"),
    ),
    "stream": (
        Figure("CPU s per million deliveries", each_delivery("server"), target=0.1),
        Figure(f"cores at {RATE} events per second", cores),
        Figure("Redis, CPU s per million deliveries", each_delivery("redis"), "{:,.3f}"),
        Figure("deliveries per second", lambda run: run["per_second"], "{:,.0f}"),
        Figure("delay p50, ms", lambda run: run["p50_ms"], "{:,.1f}"),
        Figure("delay p99, ms", lambda run: run["p99_ms"], "{:,.1f}"),
    ),
}


def faults(run):
    """Descriptions of the faults that invalidate a run."""
    return [f"{kind.replace('_', ' ')} {run[kind]}" for kind in FAULTS if run.get(kind)]


def one_line(run):
    """A summary of one run, for the progress display."""
    if "failed" in run:
        return "FAILED: " + run["failed"]
    if run["scenario"] == "rest":
        return "; ".join(f"{step['name']} {len(step['requests'])} in {step['times']}" for step in run["steps"])
    found = []
    for figure in FIGURES[run["scenario"]]:
        if value := figure.value(run):
            found.append(f"{figure.name} {figure.form.format(value)}")
    if run["foreign_cores"] > report.FOREIGN_LIMIT:
        found.append(f"other programs used {run['foreign_cores']:.1f} cores")
    return "; ".join(found + faults(run))


def markdown(records, versions):
    """All tables."""
    lines = [f"Measured {time.strftime('%Y-%m-%d %H:%M')} on {', '.join(versions)}.", ""]
    for title in dict.fromkeys(record["cell"] for record in records):
        of_cell = [one for one in records if one["cell"] == title]
        lines += [f"### {title}", "", *(open_webui_rest.markdown(of_cell) or table(of_cell)), ""]
    if any(one.get("foreign_cores", 0) > report.FOREIGN_LIMIT for one in records):
        lines.append(f"\\* other programs used more than {report.FOREIGN_LIMIT} cores: take the figure as an upper limit.")
    return "\n".join(lines)


def table(records):
    """The table of one cell, followed by the runs that failed."""
    good = {name: [one for one in records if one["server"] == name and not faults(one)] for name in (STOCK, ROOMWIRE)}
    scenario = next((run["scenario"] for runs in good.values() for run in runs), None)
    lines = ["| per socket | stock | Roomwire | Roomwire / stock | target |", "|---|---|---|---|---|"]
    if scenario == "stream":
        lines[0] = lines[0].replace("per socket", "")
    for figure in FIGURES.get(scenario, ()):
        stock, ours = (report.middle(good[name], figure.value) for name in (STOCK, ROOMWIRE))
        if not stock and not ours:
            continue
        target = f"{figure.target:.2f}" if figure.target else ""
        ratio = f"{ours / stock:.3f}" if stock and ours else "-"
        cells = [show(good[name], figure) for name in (STOCK, ROOMWIRE)]
        lines.append(f"| {figure.name} | {' | '.join(cells)} | {ratio} | {target} |")
    bad = [f"{one['server']}, round {one['round']}: {'; '.join(faults(one))}" for one in records if faults(one)]
    return [*lines, *(["", *bad] if bad else [])]


def show(runs, figure):
    """A median with its range, and a mark if the machine was busy."""
    value = report.middle(runs, figure.value)
    if not value:
        return "-"
    text = figure.form.format(value)
    if len(runs) > 1:
        values = [figure.value(run) for run in runs]
        text += f" ({figure.form.format(min(values))}-{figure.form.format(max(values))})"
    busy = median(run["foreign_cores"] for run in runs) > report.FOREIGN_LIMIT
    return text + (" \\*" if busy else "")

"""Tables from the records of runs: medians over the rounds, ratios to raw and Roomwire."""

import time
from statistics import median

# If other programs used more cores than this during a run, its figure is an upper limit.
FOREIGN_LIMIT = 0.1
FAULTS = ("errors", "framing_errors", "unexpected", "reordered", "rejected", "lost", "skipped", "rejoins", "early_ends")
# The lower bound for ratios, with two threads since the servers have two cores.
BOUND = "raw2"


def one_line(outcome):
    """A summary of one run, for the progress display."""
    if "failed" in outcome:
        return "FAILED: " + outcome["failed"]
    parts = []
    for name, cost in outcome.get("cpu_us_each", {}).items():
        parts.append(f"{name} CPU {cost:.2f} us each")
    if "per_second" in outcome:
        parts.append(f"{outcome['per_second']:,.0f}/s")
    if "p50_ms" in outcome:
        parts.append(f"p50 {outcome['p50_ms']:.2f} ms, p99 {outcome['p99_ms']:.2f} ms")
    if "added_p50_ms" in outcome:
        parts.append(f"of which added p50 {outcome['added_p50_ms']:.2f} ms, p99 {outcome['added_p99_ms']:.2f} ms")
    if "rss_kb_each" in outcome:
        parts.append(f"{outcome['rss_kb_each']:.2f} kB each")
    if "growth_percent" in outcome:
        parts.append(f"memory after the second pass {outcome['growth_percent']:+.1f} %")
    parts += faults([outcome])
    if outcome.get("foreign_cores", 0) > FOREIGN_LIMIT:
        parts.append(f"other programs used {outcome['foreign_cores']:.1f} cores")
    return ", ".join(parts) or "passed"


def faults(outcomes):
    """Every kind of fault that occurred in these runs, with its count."""
    found = []
    for kind in FAULTS:
        number = sum(outcome.get(kind, 0) for outcome in outcomes)
        if number:
            found.append(f"{kind.replace('_', ' ')} {number}")
    return found


def markdown(records, versions):
    """All tables."""
    lines = [f"Measured {time.strftime('%Y-%m-%d %H:%M')} on {', '.join(versions)}.", ""]
    for title in dict.fromkeys(record["cell"] for record in records):
        rows = group(record for record in records if record["cell"] == title)
        lines += [f"### {title}", "", *table(rows), ""]
    if any(record.get("foreign_cores", 0) > FOREIGN_LIMIT for record in records):
        lines.append(f"\\* other programs used more than {FOREIGN_LIMIT} cores: take the figure as an upper limit.")
    return "\n".join(lines)


def group(records):
    """server -> its records."""
    rows = {}
    for record in records:
        rows.setdefault(record["server"], []).append(record)
    return rows


def table(rows):
    """The Markdown table of one cell; its columns depend on what was measured."""
    good = {server: [one for one in runs if "failed" not in one] for server, runs in rows.items()}
    measured = [one for runs in good.values() for one in runs]
    columns = [column for column in COLUMNS if any(column[1](one) is not None for one in measured)]
    names = [name for name, _, _ in columns]
    ratios = []
    if any(server_cpu(one) is not None for one in measured):
        ratios = ["x raw2", "Roomwire / it"]
    elif any(cost(one) is not None for one in measured):
        ratios = ["Roomwire / it"]
    names[1:1] = ratios
    lines = [f"| server | {' | '.join([*names, 'remarks'])} |", "|---" * (len(names) + 2) + "|"]
    for server, runs in rows.items():
        values = [show(good[server], get, form) for _, get, form in columns]
        its, bound, ours = (middle(good.get(name, []), cost) for name in (server, BOUND, "roomwire"))
        found = {"x raw2": ratio(its, bound), "Roomwire / it": ratio(ours, its)}
        values[1:1] = [found[name] for name in ratios]
        remarks = [run["failed"] for run in runs if "failed" in run][:1] + faults(runs)
        lines.append(f"| {server} | {' | '.join([*values, escape('; '.join(remarks))])} |")
    return lines


def server_cpu(run):
    """Microseconds per unit of work, which is seconds per million."""
    return run.get("cpu_us_each", {}).get("server")


def cost(run):
    """The figure of which ratios are computed: memory for idle connections, otherwise CPU."""
    return run.get("rss_kb_each", server_cpu(run))


def redis_cpu(run):
    """Like `server_cpu`, for Redis."""
    return run.get("cpu_us_each", {}).get("redis")


COLUMNS = [
    ("CPU s/M", server_cpu, "{:.2f}"),
    ("Redis CPU s/M", redis_cpu, "{:.2f}"),
    ("per second", lambda run: run.get("per_second"), "{:,.0f}"),
    ("p50 ms", lambda run: run.get("p50_ms"), "{:.2f}"),
    ("p99 ms", lambda run: run.get("p99_ms"), "{:.2f}"),
    ("backend alone p50 ms", lambda run: run.get("direct_p50_ms"), "{:.2f}"),
    ("added p50 ms", lambda run: run.get("added_p50_ms"), "{:.2f}"),
    ("added p99 ms", lambda run: run.get("added_p99_ms"), "{:.2f}"),
    ("scrape ms", lambda run: run.get("scrape_ms"), "{:.1f}"),
    ("slowest scrape ms", lambda run: run.get("scrape_ms_max"), "{:.1f}"),
    ("kB each", lambda run: run.get("rss_kb_each"), "{:.2f}"),
    ("kB at start", lambda run: run.get("rss_kb_start"), "{:,.0f}"),
    ("after the first", lambda run: run.get("rss_kb_first"), "{:,.0f}"),
    ("after the second", lambda run: run.get("rss_kb_second"), "{:,.0f}"),
    ("growth %", lambda run: run.get("growth_percent"), "{:+.1f}"),
    ("deliveries checked", lambda run: run.get("deliveries") if run["scenario"] == "verify" else None, "{:,.0f}"),
]


def middle(runs, get):
    """The median of a figure over the runs that have it, or None."""
    values = [value for value in map(get, runs) if value is not None]
    return median(values) if values else None


def show(runs, get, form):
    """A median as text, with the range of CPU figures and a mark if the machine was busy."""
    value = middle(runs, get)
    if value is None:
        return "-"
    text = form.format(value)
    if get is not server_cpu:
        return text
    if len(runs) > 1:
        costs = [server_cpu(run) for run in runs]
        text += f" ({form.format(min(costs))}-{form.format(max(costs))})"
    busy = median(run.get("foreign_cores", 0) for run in runs) > FOREIGN_LIMIT
    return text + (" \\*" if busy else "")


def ratio(value, base):
    """value / base as text."""
    return "-" if value is None or not base else f"{value / base:.2f}"


def escape(text):
    """Escapes text for a cell of a Markdown table."""
    return text.replace("|", "\\|").replace("\n", " ")[:160]

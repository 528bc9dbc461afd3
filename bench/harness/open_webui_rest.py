"""REST requests of Roomwire to a backend for each action of a browser, counted in the access log of the backend."""

import time
import urllib.request
import uuid

from .open_webui import Browser, eventually

# How often each event is emitted.
TIMES = 20


class Counter:
    """Counts the requests between two marks, which are requests of this benchmark."""

    def __init__(self, target):
        self.target = target
        self.seen = 0

    async def since(self):
        """Requests since the last call, except marks and checks of the version of the backend."""
        mark = f"/api/version?mark={uuid.uuid4()}"
        urllib.request.urlopen(self.target.backend + mark, timeout=20).close()
        await eventually(lambda: mark in self.target.requests(), "the mark is in the access log")
        new = self.target.requests()[self.seen :]
        self.seen += len(new)
        return [path for path in new if not path.startswith("/api/version")]


async def count(target, people):
    """Every step with its repetitions, the requests it caused, and the number allowed per repetition."""
    token, other = people.many.read_text().split()[1:3]
    steps = []
    counter = Counter(target)
    await counter.since()

    async def step(name, times, allowed, act):
        began = time.monotonic()
        for _ in range(times):
            await act()
        paths = await counter.since()
        steps.append({"name": name, "times": times, "requests": paths, "allowed": allowed})
        steps[-1]["seconds"] = time.monotonic() - began

    browsers = []

    async def connect_and_join(token):
        browser = Browser("browser", f"http://{target.address}")
        browsers.append(browser)
        await browser.connect(token)
        expect((await browser.join(token) or {}).get("id"), "user-join is acked with an account")

    def emit(event, data, ack):
        async def act():
            received = await browsers[0].call(event, data)
            expect(received == ack, f"{event} is acked with {ack}, not {received}")

        return act

    def chat(kind, **data):
        return {"chat_id": people.chat, "data": {"type": kind, **data}}

    typing = {"channel_id": people.channel, "message_id": None, "data": {"type": "typing", "data": {"typing": True}}}
    try:
        await step("connect, join: a new token", 1, 2, lambda: connect_and_join(token))
        await step("connect, join: another socket with it", 5, 2, lambda: connect_and_join(token))
        await step("connect, join: another token", 1, 2, lambda: connect_and_join(other))
        await step("heartbeat", TIMES, 0, emit("heartbeat", {}, None))
        usage = {"action": "chat", "model": "m", "chat_id": people.chat}
        await step("usage", TIMES, 0, emit("usage", usage, None))
        await step("typing in a channel", TIMES, 0, emit("events:channel", typing, None))
        await step("open an own chat", 1, None, emit("events:chat", chat("join"), True))
        await step("typing in the chat", TIMES, 0, emit("events:chat", chat("typing", data={"typing": True}), True))
        await step("leave the chat", 1, 0, emit("events:chat", chat("leave"), True))
        browsers.reverse()
        await step("open a chat shared by another user", 1, None, emit("events:chat", chat("join"), True))
    finally:
        for browser in browsers:
            await browser.close()
    return {"scenario": "rest", "steps": steps, "unexpected": len([step for step in steps if is_over(step)])}


def is_over(step):
    """Whether a step caused more requests than allowed."""
    return step["allowed"] is not None and len(step["requests"]) > step["allowed"] * step["times"]


def expect(condition, what):
    if not condition:
        raise RuntimeError(f"failed: {what}")


def markdown(records):
    """The table of the last run."""
    runs = [one for one in records if one.get("scenario") == "rest"]
    if not runs:
        return []
    lines = ["| action of a browser | times | REST requests | allowed each |", "|---|---|---|---|"]
    for step in runs[-1]["steps"]:
        allowed = "-" if step["allowed"] is None else step["allowed"]
        over = " **too many**" if is_over(step) else ""
        lines.append(f"| {step['name']} | {step['times']} | {len(step['requests'])}{over} | {allowed} |")
    return lines

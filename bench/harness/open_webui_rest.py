"""How often Roomwire asks a backend over REST, by what browsers do; counted in the backend's own access log."""

import time
import urllib.request
import uuid

from .open_webui import Browser, eventually

# How often each event is said.
TIMES = 20


class Counter:
    """The requests between two marks, which are requests of our own."""

    def __init__(self, place):
        self.place = place
        self.seen = 0

    async def since(self):
        """Requests since the last call, ours and the watch over the backend's version left out."""
        mark = f"/api/version?mark={uuid.uuid4()}"
        urllib.request.urlopen(self.place.backend + mark, timeout=20).close()
        await eventually(lambda: mark in self.place.requests(), "the backend logs our request")
        new = self.place.requests()[self.seen :]
        self.seen += len(new)
        return [path for path in new if not path.startswith("/api/version")]


async def count(place, people):
    """Every step with how often it was done, the requests it led to, and how many are allowed each time."""
    token, other = people.many.read_text().split()[1:3]
    steps = []
    counter = Counter(place)
    await counter.since()

    async def step(name, times, allowed, act):
        began = time.monotonic()
        for _ in range(times):
            await act()
        paths = await counter.since()
        steps.append({"name": name, "times": times, "requests": paths, "allowed": allowed})
        steps[-1]["seconds"] = time.monotonic() - began

    browsers = []

    async def enter(shown):
        browser = Browser("browser", f"http://{place.address}")
        browsers.append(browser)
        await browser.connect(shown)
        expect((await browser.join(shown) or {}).get("id"), "user-join is answered")

    def say(event, data, answer):
        async def act():
            got = await browsers[0].call(event, data)
            expect(got == answer, f"{event} is answered with {answer}, not {got}")

        return act

    def chat(kind, **data):
        return {"chat_id": people.chat, "data": {"type": kind, **data}}

    typing = {"channel_id": people.channel, "message_id": None, "data": {"type": "typing", "data": {"typing": True}}}
    try:
        await step("connect, join: a token not seen before", 1, 2, lambda: enter(token))
        await step("connect, join: one more socket of it", 5, 2, lambda: enter(token))
        await step("connect, join: another token", 1, 2, lambda: enter(other))
        await step("heartbeat", TIMES, 0, say("heartbeat", {}, None))
        usage = {"action": "chat", "model": "m", "chat_id": people.chat}
        await step("usage", TIMES, 0, say("usage", usage, None))
        await step("typing in a channel", TIMES, 0, say("events:channel", typing, None))
        await step("open one's own chat", 1, None, say("events:chat", chat("join"), True))
        await step("typing in the chat", TIMES, 0, say("events:chat", chat("typing", data={"typing": True}), True))
        await step("leave the chat", 1, 0, say("events:chat", chat("leave"), True))
        browsers.reverse()
        await step("open a chat that another shares", 1, None, say("events:chat", chat("join"), True))
    finally:
        for browser in browsers:
            await browser.close()
    return {"scenario": "rest", "steps": steps, "unexpected": len([step for step in steps if is_over(step)])}


def is_over(step):
    """Whether a step led to more requests than it may."""
    return step["allowed"] is not None and len(step["requests"]) > step["allowed"] * step["times"]


def expect(true, what):
    if not true:
        raise RuntimeError(f"not so: {what}")


def markdown(records):
    """The table of the last count."""
    runs = [one for one in records if one.get("scenario") == "rest"]
    if not runs:
        return []
    lines = ["| what a browser does | times | REST requests | allowed each |", "|---|---|---|---|"]
    for step in runs[-1]["steps"]:
        allowed = "-" if step["allowed"] is None else step["allowed"]
        over = " **too many**" if is_over(step) else ""
        lines.append(f"| {step['name']} | {step['times']} | {len(step['requests'])}{over} | {allowed} |")
    return lines

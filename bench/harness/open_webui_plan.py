"""The plan of the Open WebUI benchmark: cells, their sizes, and the command lines of the load generator."""

import json
import sys
from dataclasses import dataclass

from .open_webui import BENCH, ROOMWIRE, STOCK

JOINED, STREAM, REST = "joined", "stream", "rest"
PUBLISHER = BENCH / "peers/open-webui/publisher.py"
# Events per second of a stream: the rate of a chat while a model generates.
RATE = 100
MESSAGE = "11111111-1111-4111-8111-111111111111"
DELTA = {
    "type": "response:completion",
    "data": {
        "type": "response.output_text.delta",
        "item_id": "msg_f33eaf83f25141a29e40371f",
        "output_index": 0,
        "content_index": 0,
        "delta": "{token}",
    },
}


@dataclass(frozen=True)
class Cell:
    """One row group of the tables."""

    scenario: str
    title: str
    # The tokens, of "many" users or of "one"; for a stream also the target room, of a "chat" or a "user".
    tokens: str
    room: str | None = None
    room_channels: bool = True
    count: int = 1000
    # Seconds for which sockets are held, or the number of events.
    amount: int = 0

    def arguments(self, target, people):
        """The command line of the load generator."""
        tokens = {"many": people.many, "one": people.one}[self.tokens]
        words = [self.scenario, "--server", target.address, "--tokens", str(tokens)]
        for name, pids in target.measure.items():
            words += ["--measure", f"{name}={','.join(map(str, pids))}"]
        if self.scenario == JOINED:
            idle = "2" if self.amount < 30 else "10"
            return [*words, "--count", str(self.count), "--hold", str(self.amount), "--idle", idle]
        return [*words, *self.stream_arguments(target, people)]

    def stream_arguments(self, target, people):
        event = json.dumps(["events", self.event(people)], separators=(",", ":"))
        room = f"chat:{people.chat}" if self.room == "chat" else f"user:{people.user}"
        words = ["--members", str(self.count), "--event", event, "--events", str(self.amount)]
        if self.room == "chat":
            words += ["--chat", people.chat]
        publisher = [sys.executable, str(PUBLISHER), "--redis", target.redis, "--room", room]
        publisher += ["--event", event, "--rate", str(RATE)]
        return [*words, "--", *publisher, *(["--room-channels"] if self.room_channels else [])]

    def event(self, people):
        """The event as backends emit it to the user who sent the prompt, or to the others in the chat."""
        event = {"chat_id": people.chat, "message_id": MESSAGE}
        if self.room == "chat":
            event |= {"user_id": people.user, "shared": True}
        return event | {"data": DELTA}


def users(quick):
    """The number of users."""
    return 10 if quick else 50


def cells(quick):
    """Every cell, in the order of the report."""
    count, hold, events = (100, 5, 200) if quick else (1000, 60, 500)
    sockets = f"{count} sockets"
    found = [
        Cell(REST, "REST requests at the backend", "many"),
        Cell(JOINED, f"joined, {sockets} of {users(quick)} users", "many", count=count, amount=hold),
        Cell(JOINED, f"joined, {sockets} of one user", "one", count=count, amount=hold),
        Cell(STREAM, f"stream to a chat, {sockets}, a channel per room", "many", "chat", True, count, events),
        Cell(STREAM, f"stream to a chat, {sockets}, one channel", "many", "chat", False, count, events),
        Cell(STREAM, f"stream to a user, {sockets}, a channel per room", "one", "user", True, count, events),
    ]
    return found[:2] + found[3:5] if quick else found


def steps(rounds, selected):
    """(round, cell, server) in the order of the runs: servers alternate in each round. Requests are counted once."""
    return [
        (number, cell, server)
        for number in range(1, rounds + 1)
        for cell in selected
        for server in (STOCK, ROOMWIRE)
        if cell.scenario != REST or (number == 1 and server == ROOMWIRE)
    ]

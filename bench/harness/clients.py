"""Many Socket.IO clients that reconnect as the stock ones do, in one asyncio loop.

Just enough of the protocol for a load: websocket only, one namespace, one room per
client, responses to pings. `Tally` counts the events of each second. Session ids begin
with the id of their node, so a client can determine the node it is connected to.

With recovery, clients keep their session and position as the stock ones do, and check
the numbers that a `Backend` emits to their room: each once and in order.
"""

import asyncio
import base64
import json
import os
import random
import time
from collections import Counter

PATH = "/socket.io/?EIO=4&transport=websocket"
# The defaults of socket.io-client: reconnectionDelay, reconnectionDelayMax, randomizationFactor.
DELAY, DELAY_MAX, SPREAD = 1.0, 5.0, 0.5
ROOM_SIZE = 10
# The length of the node id at the start of a session id.
NODE_ID = 4


class Tally(Counter):
    """Counts since the last call of `take`: opened, rejected, lost, emitted, and ("delivered", node)."""

    def take(self):
        taken = Counter(self)
        self.clear()
        return taken


class Rejected(Exception):
    """The status of a handshake was not 101."""


class Client:
    """One client and its reconnects."""

    def __init__(self, number, port, tally, recover=False):
        self.number, self.port, self.tally = number, port, tally
        self.room = f"room:{number // ROOM_SIZE}"
        self.auth = {"roomwire": {"recover": True}} if recover else None
        # Whether it is in its room, the last number that it has received there, and what was wrong.
        self.joined, self.last = False, None
        self.faults = Counter()
        # Spread over several addresses, since one has too few ports.
        self.source = f"127.0.1.{1 + number % 100}"
        self.writer = None
        # The id of the node it is connected to.
        self.node = None

    async def run(self):
        """Connects, and reconnects with the delays of the stock client."""
        attempts = 0
        while True:
            try:
                await self.session()
                self.tally["lost"] += 1
                attempts = 0
            except (Rejected, OSError, asyncio.IncompleteReadError):
                self.tally["rejected" if self.writer is None else "lost"] += 1
                attempts = attempts + 1 if self.writer is None else 0
            self.writer = self.node = None
            self.joined = False
            delay = min(DELAY * 2**attempts, DELAY_MAX)
            await asyncio.sleep(delay * random.uniform(1 - SPREAD, 1 + SPREAD))

    async def session(self):
        """One session, from its handshake until it closes."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(self.source, 0))
        try:
            key = base64.b64encode(os.urandom(16)).decode()
            head = f"GET {PATH} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
            writer.write(f"{head}Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {key}\r\n\r\n".encode())
            status = (await reader.readuntil(b"\r\n\r\n")).split(b" ", 2)[1]
            if status != b"101":
                raise Rejected(status.decode())
            self.tally["opened"] += 1
            self.writer = writer
            while True:
                opcode, content = await frame(reader)
                if opcode == 8:
                    return
                self.receive(content)
        finally:
            writer.close()

    def receive(self, content):
        if content.startswith(b"0"):
            self.node = json.loads(content[1:])["sid"][:NODE_ID]
            self.send("40" + (json.dumps(self.auth) if self.auth else ""))
        elif content.startswith(b"40"):
            if self.auth is None:
                self.join()
        elif content == b"2":
            self.send("3")
        elif content.startswith(b"430"):
            self.joined = True
        elif content.startswith(b"42"):
            if self.auth is not None:
                self.event(*json.loads(content[2:]))
            else:
                self.tally["delivered", self.node] += 1

    def join(self):
        self.send(f'420["roomwire:join","{self.room}"]')

    def event(self, name, argument, offset=None):
        """An event for a client with recovery."""
        if isinstance(offset, str):
            self.auth["offset"] = offset
        if name == "roomwire:session":
            self.auth["pid"] = argument["pid"]
            if argument["recovered"]:
                self.joined = True
                self.faults["recovered"] += 1
            else:
                # What it misses is named, and not counted as lost.
                if argument["gap"] is not None:
                    self.faults[f"begun anew: {argument['gap']['reason']}"] += 1
                self.last = None
                self.join()
        elif name == "tick":
            self.tally["delivered", self.node] += 1
            if self.last is not None and argument <= self.last:
                self.faults["duplicate or out of order"] += 1
                return
            if self.last is not None:
                self.faults["lost"] += argument - self.last - 1
            self.last = argument
        else:
            self.faults[name] += 1

    def emit(self):
        """Emits an event to its room; returns False if it is not connected."""
        if self.writer is None:
            return False
        self.send(f'42["roomwire:emit","{self.room}","tick","{"x" * 60}"]')
        self.tally["emitted"] += 1
        return True

    def send(self, text):
        content = text.encode()
        length = bytes([0x80 | len(content)]) if len(content) < 126 else b"\xfe" + len(content).to_bytes(2)
        # A mask of zeros is valid.
        self.writer.write(b"\x81" + length + bytes(4) + content)


async def frame(reader):
    """The next frame of a server: opcode and content."""
    first, length = await reader.readexactly(2)
    if length == 126:
        length = int.from_bytes(await reader.readexactly(2))
    elif length == 127:
        length = int.from_bytes(await reader.readexactly(8))
    return first & 15, await reader.readexactly(length)


class Backend:
    """Emits numbered events to the rooms by the HTTP API of one of the nodes, which must not be restarted meanwhile."""

    def __init__(self, rooms, key, tally):
        self.rooms, self.key, self.tally = rooms, key, tally
        # The number of the last event of each room.
        self.last = Counter()
        self.port = None
        self.connection = None

    async def emit_at_rate(self, per_second):
        due = time.monotonic()
        while True:
            room = f"room:{random.randrange(self.rooms)}"
            await self.emit(room, self.last[room] + 1)
            self.last[room] += 1
            self.tally["emitted"] += 1
            due += 1 / per_second
            await asyncio.sleep(due - time.monotonic())

    async def emit(self, room, number):
        if self.connection is None or self.connection[0] != self.port:
            if self.connection is not None:
                self.connection[2].close()
            self.connection = (self.port, *await asyncio.open_connection("127.0.0.1", self.port))
        _, reader, writer = self.connection
        body = json.dumps({"rooms": [room], "event": "tick", "args": [number]})
        head = f"POST /api/v1/emit HTTP/1.1\r\nHost: 127.0.0.1\r\nX-API-Key: {self.key}\r\nContent-Length: {len(body)}"
        writer.write(f"{head}\r\n\r\n{body}".encode())
        response = (await reader.readuntil(b"\r\n\r\n")).decode().lower()
        length = int(response.split("content-length:")[1].split("\r\n")[0])
        content = await reader.readexactly(length)
        if " 200 " not in response.split("\r\n")[0]:
            raise ConnectionError(f"{response.splitlines()[0]} {content.decode()}")


async def emit_at_rate(clients, per_second):
    """Makes random clients emit, `per_second` times a second, evenly spaced."""
    due = time.monotonic()
    while True:
        random.choice(clients).emit()
        due += 1 / per_second
        await asyncio.sleep(due - time.monotonic())

"""Open WebUI under test: the stock backend, its users, and Roomwire in front of it.

Runs in the virtual environment that tests/open_webui/install.sh makes, and starts what
the comparison in tests/open_webui starts, in a folder of its own.
"""

import asyncio
import contextlib
import os
import re
import shutil
import sys
from dataclasses import dataclass
from pathlib import Path

from . import servers

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
# What it says at `debug` costs CPU.
os.environ.setdefault("ROOMWIRE_LOG", "info")
# Another build can be measured by its path.
TO_BUILD = "ROOMWIRE_BIN" not in os.environ
os.environ.setdefault("ROOMWIRE_BIN", str(ROOT / "target/dist/roomwire"))
sys.path.insert(0, str(ROOT / "tests/open_webui"))

import surroundings  # noqa: E402
from people import Browser, User, eventually  # noqa: E402,F401

surroundings.WORK = ROOT / ".work/open-webui/bench"
STOCK, ROOMWIRE = "stock", "roomwire"
# More sign-ins of one user within three minutes are rejected.
SIGN_INS = 12
# The access log of the backend.
REQUEST = re.compile(r'"(GET|POST|DELETE) (/api/\S*) HTTP')


@dataclass(frozen=True)
class People:
    """Who signs in, by files of tokens: the first of each is for warming up."""

    many: Path
    one: Path
    # The user whose tokens `one` holds, and a chat that all of `many` may write in.
    user: str
    chat: str
    # A channel in which all of `many` are.
    channel: str


@dataclass(frozen=True)
class Place:
    """Where sockets go in one run, and what is measured there."""

    address: str
    redis: str
    # Base URL of the backend.
    backend: str
    # name -> process ids; "server" is what holds the sockets.
    measure: dict
    log: Path

    def requests(self):
        """REST requests that the backend has answered so far, in order."""
        return [path for _, path in REQUEST.findall(self.log.read_text(errors="replace"))]


def forget():
    """Removes what an earlier run left."""
    shutil.rmtree(surroundings.WORK, ignore_errors=True)
    surroundings.WORK.mkdir(parents=True)


@contextlib.contextmanager
def running(server, room_channels):
    """A Redis, a backend on the database of all runs, and Roomwire if that is the server."""
    with contextlib.ExitStack() as stack:

        def started(make, *arguments):
            process = make(*arguments)
            stack.callback(process.stop)
            return process

        try:
            redis = started(surroundings.Redis)
            log = surroundings.WORK / "logs/backend-1.log"
            log.unlink(missing_ok=True)
            backend = started(surroundings.Backend, 1, redis, room_channels)
            node = started(surroundings.Node, 1, redis, [backend.url]) if server == ROOMWIRE else None
        except RuntimeError as error:
            raise servers.Failed(str(error).strip().splitlines()[-1]) from error
        holder = node or backend
        measure = {"server": [holder.process.pid], "redis": [redis.process.pid]}
        if node:
            measure["backend"] = [backend.process.pid]
        yield Place(f"127.0.0.1:{holder.port}", redis.url, backend.url, measure, log)


async def settle(url, users):
    """Makes the users, signs them in, gives them a channel and a chat in common."""
    admin = await User.sign_in(url, surroundings.ADMIN["email"], surroundings.ADMIN["password"])
    rights = await admin.get(url, "/api/v1/users/default/permissions")
    rights["features"]["channels"] = True
    await admin.post(url, "/api/v1/users/default/permissions", rights)
    people = []
    for number in range(users):
        email, password = f"user{number}@example.org", f"Passw0rd!{number}"
        body = {"email": email, "password": password, "name": f"User {number}", "role": "user"}
        await admin.post(url, "/api/v1/auths/add", body)
        people.append(await User.sign_in(url, email, password))
    channel = {"name": "team", "type": "group", "user_ids": [user.id for user in people]}
    channel = (await admin.post(url, "/api/v1/channels/create", channel))["id"]
    again = [await User.sign_in(url, "user0@example.org", "Passw0rd!0") for _ in range(min(users, SIGN_INS))]
    many, one = surroundings.WORK / "many", surroundings.WORK / "one"
    many.write_text("".join(f"{user.token}\n" for user in [admin, *people]))
    one.write_text("".join(f"{user.token}\n" for user in [admin, *again]))
    return People(many, one, people[0].id, await share_chat(url, people), channel)


async def share_chat(url, people):
    """A chat of the first, in which all others may write."""
    owner = people[0]
    history = {"messages": {}, "currentId": None}
    body = {"chat": {"title": "a chat", "models": [], "messages": [], "history": history}}
    chat = (await owner.post(url, "/api/v1/chats/new", body))["id"]
    await owner.post(url, f"/api/v1/chats/{chat}/share", {})
    grants = [{"principal_type": "user", "principal_id": user.id, "permission": "read"} for user in people[1:]]
    shared = {"access_grants": grants, "share_mode": "continue"}
    await owner.post(url, f"/api/v1/chats/shared/{chat}/access/update", shared)
    return chat


def prepare(users):
    """Everything that the runs share: the database with its users."""
    forget()
    with running(STOCK, room_channels=True) as place:
        return asyncio.run(settle(f"http://{place.address}", users))

"""Open WebUI under test: the stock backend, its users, and Roomwire in front of it.

Runs in the virtual environment that tests/open_webui/install.sh creates, and starts the
same processes as the comparison in tests/open_webui, in a separate folder.
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
# Logging at `debug` would cost CPU.
os.environ.setdefault("ROOMWIRE_LOG", "info")
# The path of another build to measure.
TO_BUILD = "ROOMWIRE_BIN" not in os.environ
os.environ.setdefault("ROOMWIRE_BIN", str(ROOT / "target/dist/roomwire"))
sys.path.insert(0, str(ROOT / "tests/open_webui"))

import services  # noqa: E402
from people import Browser, User, eventually  # noqa: E402,F401

services.WORK = ROOT / ".work/open-webui/bench"
STOCK, ROOMWIRE = "stock", "roomwire"
# More sign-ins of one user within three minutes are rejected.
SIGN_INS = 12
# Lines of the access log of the backend.
REQUEST = re.compile(r'"(GET|POST|DELETE) (/api/\S*) HTTP')


@dataclass(frozen=True)
class People:
    """Files of session tokens; the first token of each is for warming up."""

    many: Path
    one: Path
    # The user of the tokens in `one`, and a chat to which all users of `many` may write.
    user: str
    chat: str
    # A channel whose members are the users of `many`.
    channel: str


@dataclass(frozen=True)
class Target:
    """The addresses and processes of one run."""

    address: str
    redis: str
    # Base URL of the backend.
    backend: str
    # name -> process ids; "server" is the process with the sockets.
    measure: dict
    log: Path

    def requests(self):
        """REST requests in the access log of the backend so far, in order."""
        return [path for _, path in REQUEST.findall(self.log.read_text(errors="replace"))]


def clear():
    """Removes the files of an earlier run."""
    shutil.rmtree(services.WORK, ignore_errors=True)
    services.WORK.mkdir(parents=True)


@contextlib.contextmanager
def running(server, room_channels):
    """Starts Redis, a backend on the database of all runs, and Roomwire if that is the server."""
    with contextlib.ExitStack() as stack:

        def started(make, *arguments):
            process = make(*arguments)
            stack.callback(process.stop)
            return process

        try:
            redis = started(services.Redis)
            log = services.WORK / "logs/backend-1.log"
            log.unlink(missing_ok=True)
            backend = started(services.Backend, 1, redis, room_channels)
            node = started(services.Node, 1, redis, [backend.url]) if server == ROOMWIRE else None
        except RuntimeError as error:
            raise servers.Failed(str(error).strip().splitlines()[-1]) from error
        holder = node or backend
        measure = {"server": [holder.process.pid], "redis": [redis.process.pid]}
        if node:
            measure["backend"] = [backend.process.pid]
        yield Target(f"127.0.0.1:{holder.port}", redis.url, backend.url, measure, log)


async def create_users(url, users):
    """Creates users, signs them in, and creates a channel and a chat that they share."""
    admin = await User.sign_in(url, services.ADMIN["email"], services.ADMIN["password"])
    permissions = await admin.get(url, "/api/v1/users/default/permissions")
    permissions["features"]["channels"] = True
    await admin.post(url, "/api/v1/users/default/permissions", permissions)
    people = []
    for number in range(users):
        email, password = f"user{number}@example.org", f"Passw0rd!{number}"
        body = {"email": email, "password": password, "name": f"User {number}", "role": "user"}
        await admin.post(url, "/api/v1/auths/add", body)
        people.append(await User.sign_in(url, email, password))
    channel = {"name": "team", "type": "group", "user_ids": [user.id for user in people]}
    channel = (await admin.post(url, "/api/v1/channels/create", channel))["id"]
    again = [await User.sign_in(url, "user0@example.org", "Passw0rd!0") for _ in range(min(users, SIGN_INS))]
    many, one = services.WORK / "many", services.WORK / "one"
    many.write_text("".join(f"{user.token}\n" for user in [admin, *people]))
    one.write_text("".join(f"{user.token}\n" for user in [admin, *again]))
    return People(many, one, people[0].id, await share_chat(url, people), channel)


async def share_chat(url, people):
    """Creates a chat of the first user to which all others may write."""
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
    """Creates what all runs share: the database with its users."""
    clear()
    with running(STOCK, room_channels=True) as target:
        return asyncio.run(create_users(f"http://{target.address}", users))

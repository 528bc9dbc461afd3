"""The scenario: what users do, and which events and acks their browsers receive.

Each step performs actions and then records the masked acks and events of every socket since the previous step. A step ends
when every socket has received as many events as in the baseline, followed by a quiet period.
"""

import asyncio
import json
import uuid
from dataclasses import dataclass, field
from typing import Any

import pycrdt
import redis.asyncio as aioredis

import accounts
import direct
import private
from mask import Names
from people import Browser, User, eventually

# The quiet period in seconds that ends a step: of the baseline, and of a placement whose number of events is known.
BASELINE_QUIET = 1.2
QUIET = 0.4
STEP_TIMEOUT = 15

PIPE = '''
class Pipe:
    def __init__(self):
        pass

    async def pipe(self, body, __event_emitter__=None, __event_call__=None):
        await __event_emitter__({"type": "status", "data": {"description": "asking", "done": False}})
        answer = await __event_call__(
            {"type": "input", "data": {"title": "q", "message": "name?", "placeholder": ""}}
        )
        yield "got "
        yield str(answer)
'''


def kind(event: str, arguments: list[Any]) -> str:
    """The name of an event, with the type of its data."""
    data = arguments[0].get("data") if arguments and isinstance(arguments[0], dict) else None
    return f"{event} {data['type']}" if isinstance(data, dict) and "type" in data else event


@dataclass
class Observation:
    """What one step shows: acks by label, and events by socket and kind, in order within a kind."""

    acks: dict[str, Any] = field(default_factory=dict)
    events: dict[str, dict[str, list[Any]]] = field(default_factory=dict)
    disconnects: dict[str, list[str]] = field(default_factory=dict)

    def count(self, browser: str) -> int:
        return sum(map(len, self.events.get(browser, {}).values()))


class Scenario:
    """One run. `ends` are the two socket endpoints, `backends` the two REST endpoints."""

    def __init__(self, ends: list[str], backends: list[str], redis_url: str, users: dict[str, User], baseline=None):
        self.ends, self.backends = ends, backends
        self.redis = aioredis.from_url(redis_url, decode_responses=True)
        self.users = users
        self.baseline: dict[str, Observation] | None = baseline
        self.steps: dict[str, Observation] = {}
        self.names = Names()
        self.browsers: dict[str, Browser] = {}
        for name, user in users.items():
            self.names.add(name, user.id)
            self.names.add(f"token of {name}", user.token)

    # -- recording

    def browser(self, name: str, end: int) -> Browser:
        self.browsers[name] = Browser(name, self.ends[end])
        return self.browsers[name]

    async def step(self, name: str, disconnecting: str = "", **acks: Any) -> None:
        """Records the events since the previous step; `acks` are awaited in order. Events of the browser `disconnecting`
        in this step are ignored: with stock alone it is a race whether it receives any."""
        observation = Observation()
        for label, ack in acks.items():
            if asyncio.iscoroutine(ack):
                ack = await ack
            observation.acks[label] = self.names.mask(ack)
        await self.settle(self.baseline.get(name) if self.baseline else None)
        for browser in self.browsers.values():
            events: dict[str, list[Any]] = {}
            for event, arguments in browser.events:
                # Backends emit events of different kinds in no fixed order; those of one kind keep their order.
                events.setdefault(kind(event, arguments), []).append(self.names.mask(arguments))
            observation.events[browser.name] = events if browser.name != disconnecting else {}
            browser.events.clear()
            if browser.disconnects:
                observation.disconnects[browser.name] = list(browser.disconnects)
        self.steps[name] = observation

    async def settle(self, expected: Observation | None) -> None:
        quiet = QUIET if expected else BASELINE_QUIET
        elapsed, still, last = 0.0, 0.0, -1
        while elapsed < STEP_TIMEOUT:
            received = sum(len(browser.events) for browser in self.browsers.values())
            still = still + 0.05 if received == last else 0.0
            last = received
            missing = expected and any(
                len(browser.events) < expected.count(browser.name) for browser in self.browsers.values()
            )
            if still >= quiet and not missing:
                return
            await asyncio.sleep(0.05)
            elapsed += 0.05

    # -- the steps

    async def run(self) -> dict[str, Observation]:
        try:
            await self.sign_in()
            await self.without_token()
            await self.channels()
            await self.chats()
            await self.notes()
            await self.models()
            await direct.run(self)
            await self.completion_chunks()
            await private.run(self)
            await self.other_events()
            await accounts.change_role(self)
            await accounts.change_password(self)
            await accounts.sign_out(self)
            await self.disconnect_all()
        finally:
            for browser in self.browsers.values():
                await browser.close()
            await self.redis.aclose()
        return self.steps

    async def sign_in(self) -> None:
        alice, bob = self.browser("alice", 0), self.browser("bob", 1)
        await alice.connect(self.users["alice"].token)
        await bob.connect(self.users["bob"].token)
        for browser in (alice, bob):
            self.names.add(f"socket of {browser.name}", browser.sid)
        await self.step(
            "user-join",
            alice=alice.join(self.users["alice"].token),
            bob=bob.join(self.users["bob"].token),
            heartbeat=alice.call("heartbeat", {}),
        )
        await self.pool_has("in the pool", alice.sid, bob.sid)

    async def pool_has(self, name: str, *sids: str) -> None:
        """The fields of session pool entries that backends read."""
        observation = Observation()
        for sid in sids:
            entry = json.loads(await self.redis.hget("open-webui:session_pool", sid) or "null")
            read = entry and {key: entry.get(key) for key in ("id", "name", "role", "email")}
            fresh = bool(entry) and "last_seen_at" in entry
            observation.acks[self.names.text(sid)] = [self.names.mask(read), fresh, len((entry or {}).get("chat_ids") or [])]
        self.steps[name] = observation

    async def without_token(self) -> None:
        unknown = self.browser("unknown", 0)
        await unknown.connect("no token at all")
        await self.step("a bad token", join=unknown.join("no token at all"))
        await self.step("then a heartbeat", beat=unknown.call("heartbeat", {}))
        await unknown.close()
        silent = self.browser("silent", 1)
        await silent.connect(None)
        await self.step("no token", typing=silent.call("events:channel", {"channel_id": "x", "data": {"type": "typing"}}))
        await self.step("a chat without a token", chat=silent.call("events:chat", {"chat_id": "x", "data": {"type": "join"}}))
        await silent.close()
        for name in ("unknown", "silent"):
            del self.browsers[name]

    async def channels(self) -> None:
        alice, bob = self.browsers["alice"], self.browsers["bob"]
        user, one, two = self.users["alice"], *self.backends
        body = {"name": "team", "type": "group", "user_ids": [self.users["bob"].id]}
        channel = self.names.add("channel", (await user.post(one, "/api/v1/channels/create", body))["id"])
        post = f"/api/v1/channels/{channel}/messages/post"
        await self.step("a channel is made")
        await self.name_created(user.post(two, post, {"content": "before a join"}), "first message")
        await self.step("a message before bob has joined")
        auth = {"auth": {"token": self.users["bob"].token}}
        alice_auth = {"auth": {"token": user.token}}
        await self.step(
            "join-channels", bob=bob.call("join-channels", auth), alice=alice.call("join-channels", alice_auth)
        )
        message = await self.name_created(user.post(one, post, {"content": "hello é中"}), "message")
        await self.step("a message")
        typing = {"channel_id": channel, "message_id": None, "data": {"type": "typing", "data": {"typing": True}}}
        await self.step("bob types", ack=bob.call("events:channel", typing))
        typing["channel_id"] = str(uuid.uuid4())
        await self.step("bob types elsewhere", ack=bob.call("events:channel", typing))
        reaction = f"/api/v1/channels/{channel}/messages/{message}/reactions/add"
        await self.users["bob"].post(two, reaction, {"name": "thumbsup"})
        await self.step("a reaction")
        reply = {"content": "a reply", "parent_id": message}
        await self.name_created(self.users["bob"].post(one, post, reply), "reply")
        await self.step("a reply")
        read = {"channel_id": channel, "message_id": None, "data": {"type": "last_read_at"}}
        await self.step("bob has read", ack=bob.call("events:channel", read), unread=self.unread(channel))
        await user.call("DELETE", one, f"/api/v1/channels/{channel}/messages/{message}/delete")
        await self.step("the message is deleted")
        await user.post(two, f"/api/v1/channels/{channel}/update/members/remove", {"user_ids": [self.users["bob"].id]})
        await self.name_created(user.post(one, post, {"content": "without bob"}), "last message")
        await self.step("bob is out of the channel")
        await user.call("DELETE", two, f"/api/v1/channels/{channel}/delete")
        await self.step("the channel is deleted")

    async def name_created(self, call, name: str) -> str:
        return self.names.add(name, (await call)["id"])

    async def unread(self, channel: str) -> Any:
        channels = await self.users["bob"].get(self.backends[0], "/api/v1/channels/")
        return [item["unread_count"] for item in channels if item["id"] == channel]

    async def chats(self) -> None:
        alice, bob = self.browsers["alice"], self.browsers["bob"]
        user, one, two = self.users["alice"], *self.backends
        body = {"chat": {"title": "a chat", "models": ["probe"], "messages": [], "history": {"messages": {}, "currentId": None}}}
        self.chat = chat = await self.name_created(user.post(one, "/api/v1/chats/new", body), "chat")

        def about(kind: str, data: Any = None) -> dict[str, Any]:
            return {"chat_id": chat, "data": {"type": kind} if data is None else {"type": kind, "data": data}}

        await self.step("alice opens a chat", ack=alice.call("events:chat", about("join")))
        await self.pool_has("in the pool with a chat", alice.sid)
        await self.step("bob may not", ack=bob.call("events:chat", about("join")))
        await self.step("nor type", ack=bob.call("events:chat", about("typing", {"typing": True})))
        grants = [{"principal_type": "user", "principal_id": self.users["bob"].id, "permission": "read"}]
        await user.post(two, f"/api/v1/chats/{chat}/share", {})
        access = f"/api/v1/chats/shared/{chat}/access/update"
        await user.post(one, access, {"access_grants": grants, "share_mode": "continue"})
        await self.step("alice shares it")
        await self.step("bob opens it", ack=bob.call("events:chat", about("join")))
        await self.step("alice types", ack=alice.call("events:chat", about("typing", {"typing": True})))
        await self.step("bob types in the chat", ack=bob.call("events:chat", about("typing", {"typing": False})))
        await self.step("nonsense typed", ack=bob.call("events:chat", about("typing", {"typing": 1})))
        await self.step("alice has read", ack=alice.call("events:chat", about("last_read_at")))
        await self.step("bob has not", ack=bob.call("events:chat", about("last_read_at")))
        temporary = {"chat_id": f"temporary:{alice.sid}", "data": {"type": "join"}}
        await self.step("a chat of the browser", ack=alice.call("events:chat", temporary))
        await self.step("no word", ack=alice.call("events:chat", {"chat_id": chat}))
        await user.post(two, access, {"access_grants": []})
        await self.step("the share ends")
        await self.step("bob types no more", ack=bob.call("events:chat", about("typing", {"typing": True})))
        await self.pool_has("bob without the chat", bob.sid)
        await self.step("alice leaves", ack=alice.call("events:chat", about("leave")))
        await self.step("alice is back", ack=alice.call("events:chat", about("join")))

    async def notes(self) -> None:
        alice, bob = self.browsers["alice"], self.browsers["bob"]
        user, one, two = self.users["alice"], *self.backends
        bob_id = self.users["bob"].id
        grants = [{"principal_type": "user", "principal_id": bob_id, "permission": kind} for kind in ("read", "write")]
        content = {"content": {"json": None, "html": "", "md": ""}}
        body = {"title": "a note", "data": content, "meta": None, "access_grants": grants}
        note = await self.name_created(user.post(one, "/api/v1/notes/create", body), "note")
        secret = await self.name_created(
            user.post(two, "/api/v1/notes/create", {**body, "access_grants": []}), "secret note"
        )
        await self.step("notes are made")

        def page(name: str, note_id: str) -> dict[str, Any]:
            return {"auth": {"token": self.users[name].token}, "note_id": note_id}

        await self.step(
            "join-note",
            alice=alice.call("join-note", page("alice", note)),
            bob=bob.call("join-note", page("bob", note)),
            secret=bob.call("join-note", page("bob", secret)),
        )

        def document(name: str, **more: Any) -> dict[str, Any]:
            identity = {"user_id": self.users[name].id, "user_name": name, "user_color": "#ff0000"}
            return {"document_id": f"note:{note}", **identity, **more}

        await self.step("alice opens the editor", ack=alice.call("ydoc:document:join", document("alice")))
        await self.step("bob opens it too", ack=bob.call("ydoc:document:join", document("bob")))
        denied = {**document("bob"), "document_id": f"note_{secret}"}
        await self.step("not the secret one", ack=bob.call("ydoc:document:join", denied))
        doc = pycrdt.Doc(client_id=7)
        text = doc.get("text", type=pycrdt.Text)
        text += "hi"
        first = list(doc.get_update())
        await self.step("the first content", ack=alice.call("ydoc:document:update", document("alice", update=first, initialize=True)))
        other = pycrdt.Doc(client_id=8)
        other_text = other.get("text", type=pycrdt.Text)
        other_text += "no"
        late = list(other.get_update())
        await self.step("a late one", ack=bob.call("ydoc:document:update", document("bob", update=late, initialize=True)))
        state = doc.get_state()
        text += " there"
        second = list(doc.get_update(state))
        saved = {"content": {"json": None, "html": "<p>hi there</p>", "md": "hi there"}}
        update = document("alice", update=second, data=saved)
        await self.step("alice edits", ack=alice.call("ydoc:document:update", update))
        await eventually(lambda: self.note_has(note, "hi there"), "the edit is saved")
        state = doc.get_state()
        text += "!"
        binary = document("alice", update=doc.get_update(state))
        await self.step("an edit in binary", ack=alice.call("ydoc:document:update", binary))
        await self.step("nonsense", ack=bob.call("ydoc:document:update", document("bob", update=[255, 1, 2])))
        await self.step("a cursor", ack=bob.call("ydoc:awareness:update", document("bob", update=[1, 2, 3])))
        await self.step("the state", ack=bob.call("ydoc:document:state", {"document_id": f"note:{note}"}))
        await user.post(two, f"/api/v1/notes/{note}/update", {"title": "another title", "data": saved})
        await self.step("saved by REST")
        await self.step("bob closes the editor", ack=bob.call("ydoc:document:leave", document("bob")))
        await self.step("a cursor from outside", ack=bob.call("ydoc:awareness:update", document("bob", update=[1])))
        await self.step("alice closes it", ack=alice.call("ydoc:document:leave", document("alice")))
        await user.post(one, f"/api/v1/notes/{note}/access/update", {"access_grants": []})
        await user.post(two, f"/api/v1/notes/{note}/update", {"title": "private"})
        await self.step("bob may read it no more")

    async def note_has(self, note: str, text: str) -> bool:
        saved = await self.users["alice"].get(self.backends[1], f"/api/v1/notes/{note}")
        return (saved["data"]["content"] or {}).get("md") == text

    async def models(self) -> None:
        alice, bob = self.browsers["alice"], self.browsers["bob"]
        user, two = self.users["alice"], self.backends[1]
        usage = {"action": "chat", "model": "probe", "chat_id": self.chat}
        await self.step("a model is used", ack=bob.call("usage", usage))
        await eventually(lambda: self.model_in_use("probe"), "the backend sees the use")
        await eventually(self.nothing_in_use, "the use ends by itself")
        access = f"/api/v1/chats/shared/{self.chat}/access/update"
        grants = [{"principal_type": "user", "principal_id": self.users["bob"].id, "permission": "read"}]
        await user.post(two, access, {"access_grants": grants})
        await self.step("the chat is shared again")
        await self.step("bob is back", ack=bob.call("events:chat", {"chat_id": self.chat, "data": {"type": "join"}}))
        for shown in (True, False):
            ids = [str(uuid.uuid4()) for _ in range(2)]
            question = {"id": ids[0], "role": "user", "content": "hi", "parentId": None, "childrenIds": [], "models": ["probe"]}
            body = {
                "stream": True,
                "model": "probe",
                "messages": [{"role": "user", "content": "hi"}],
                "chat_id": self.chat,
                "id": ids[1],
                "parent_id": None,
                "user_message": question,
                "session_id": alice.sid,
                "background_tasks": {},
            }
            alice.ack = {"answer": "yes from client"} if shown else None
            await user.post(two, "/api/chat/completions", body)
            name = "a model requests input and completes" if shown else "it requests input again and gets none"
            await self.step(name)

    async def model_in_use(self, model: str) -> bool:
        usage = await self.users["alice"].get(self.backends[0], "/api/usage")
        return model in usage["model_ids"]

    async def nothing_in_use(self) -> bool:
        usage = await self.users["alice"].get(self.backends[1], "/api/usage")
        return usage["model_ids"] == []

    async def completion_chunks(self) -> None:
        """Chunks of a completion that a browser streams up for a backend."""
        bob = self.browsers["bob"]
        listener = self.redis.pubsub(ignore_subscribe_messages=True)
        await listener.subscribe("open-webui:direct_completion")
        await listener.get_message(timeout=1)
        own = f"{self.users['bob'].id}:{bob.sid}:request"
        foreign = f"{self.users['alice'].id}:{bob.sid}:request"
        acks = [await bob.call(foreign, "stolen"), await bob.call(own, {"choices": [1, "é"]}), await bob.call(own, "data: x")]
        received = []
        async with asyncio.timeout(10):
            while len(received) < 2:
                message = await listener.get_message(timeout=1)
                if message and message["type"] == "message":
                    received.append(json.loads(message["data"]))
        await listener.aclose()
        await self.step("completion chunks", acks=acks, received=received)

    async def other_events(self) -> None:
        bob = self.browsers["bob"]
        status = {"channel": str(uuid.uuid4())}
        await self.step("no private channel", ack=bob.call("encryption:status", status))
        await self.step("an unknown event", ack=bob.call("something-new", {"a": 1}))
        await self.step("a model without a name", ack=bob.emit("usage", {}))

    async def disconnect_all(self) -> None:
        await self.browsers["alice"].close()
        await eventually(self.pool_is_empty, "the session pool is empty", 30)
        await self.step("all are disconnected", pool=await self.redis.hlen("open-webui:session_pool"))

    async def pool_is_empty(self) -> bool:
        return await self.redis.hlen("open-webui:session_pool") == 0

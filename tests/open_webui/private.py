"""A private channel, whose packets the backend relays between members: start, join, admission, leave."""

import base64
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from scenario import Scenario


def packet(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


async def run(story: "Scenario") -> None:
    alice, bob = story.browsers["alice"], story.browsers["bob"]
    user, one, two = story.users["alice"], *story.backends
    body = {"name": "secret team", "type": "group", "is_private": True, "user_ids": [story.users["bob"].id]}
    channel = story.names.add("private channel", (await user.post(one, "/api/v1/channels/create", body))["id"])
    for browser in (alice, bob):
        await browser.call("join-channels", {"auth": {"token": story.users[browser.name].token}})
    await story.step("a private channel is made")

    def about(**more: Any) -> dict[str, Any]:
        return {"channel": channel, **more}

    await story.step("status before the start", ack=bob.call("encryption:status", about()))
    started = await alice.call("encryption:start", about())
    await story.step("alice starts", ack=started)
    host = about(session=started["session"], participation=started["participation"])
    key = {name: packet(name[0] * 32) for name in ("alice", "bob")}
    await story.step("alice binds her key", ack=alice.call("encryption:bind", {**host, "key": key["alice"]}))
    await story.step("status after the start", ack=bob.call("encryption:status", about()))
    joined = await bob.call("encryption:join", about(session=started["session"]))
    await story.step("bob joins", ack=joined)
    guest = about(session=started["session"], participation=joined["participation"])
    candidate = {**guest, "key": key["bob"], "packet": packet("let me in")}
    await story.step("bob binds his key", ack=bob.call("encryption:bind", candidate))
    early = {**guest, "kind": "mls", "packet": packet("too early")}
    await story.step("bob sends too early", ack=bob.call("encryption:packet", early))
    admission = {**host, "kind": "admit", "target": joined["participation"], "packet": packet("he is in"), "welcome": packet("welcome")}
    await story.step("alice admits him", ack=alice.call("encryption:packet", admission))
    await story.step("bob sends", ack=bob.call("encryption:packet", {**guest, "kind": "mls", "packet": packet("hello")}))
    await story.step("bob pings", ack=bob.call("encryption:ping", guest))
    await story.step("bob pings as alice", ack=bob.call("encryption:ping", host))
    await story.step("bob leaves", ack=bob.call("encryption:leave", guest))
    await story.step("alice ends it", ack=alice.call("encryption:leave", host))
    await user.call("DELETE", two, f"/api/v1/channels/{channel}/delete")
    await story.step("the private channel is deleted")

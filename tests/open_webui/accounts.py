"""Sockets whose account changes: its role, its password, a sign-out."""

from typing import TYPE_CHECKING

from people import User

if TYPE_CHECKING:
    from scenario import Scenario


async def change_role(story: "Scenario") -> None:
    user, two = story.users["alice"], story.backends[1]
    carol = story.users["carol"]
    browser = story.browser("carol", 0)
    await browser.connect(carol.token)
    await story.step("carol connects", ack=browser.join(carol.token))
    for role in ("admin", "user"):
        await user.post(two, f"/api/v1/users/{carol.id}/update", {"role": role})
        if role == "admin":
            await story.step("carol's role changes")
    await browser.close()
    again = story.browser("carol", 1)
    await again.connect(carol.token)
    await story.step("carol connects again", ack=again.join(carol.token))
    await again.close()


async def change_password(story: "Scenario") -> None:
    """A new password revokes the old tokens in the database only: no key in Redis is written."""
    one, two = story.backends
    carol = story.users["carol"]
    email, old, new = "carol@example.org", "Passw0rd!carol", "Passw0rd!other"
    both = [story.browser(f"carol at {end}", end) for end in (0, 1)]
    for browser in both:
        await browser.connect(carol.token)
    acks = {browser.name: browser.join(carol.token) for browser in both}
    await story.step("carol connects twice", **acks)
    await carol.post(two, "/api/v1/auths/update/password", {"password": old, "new_password": new})
    await story.step("carol has a new password")
    for browser in both:
        await browser.close()
    for end in (0, 1):
        browser = story.browser(f"carol at {end}", end)
        await browser.connect(carol.token)
        await story.step(f"the old token at {end}", ack=browser.join(carol.token), beat=browser.call("heartbeat", {}))
        await browser.close()
    renewed = await User.sign_in(one, email, new)
    story.names.add("new token of carol", renewed.token)
    browser = story.browser("carol at 0", 0)
    await browser.connect(renewed.token)
    await story.step("the new token", ack=browser.join(renewed.token), beat=browser.call("heartbeat", {}))
    await renewed.post(one, "/api/v1/auths/update/password", {"password": new, "new_password": old})
    await browser.close()
    for end in (0, 1):
        del story.browsers[f"carol at {end}"]


async def sign_out(story: "Scenario") -> None:
    bob = story.browsers["bob"]
    user, one = story.users["bob"], story.backends[0]
    await user.post(one, "/api/v1/auths/signout")
    await story.step("bob signs out", disconnecting="bob")
    await bob.close()
    old = story.browser("bob", 1)
    await old.connect(user.token)
    await story.step("bob's old token", ack=old.join(user.token), beat=old.call("heartbeat", {}))
    await old.close()

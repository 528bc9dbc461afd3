"""Compares stock Open WebUI with and without Roomwire in front: one scenario, played in every placement.

    compare.py [--quick] [--room-channels on|off|both] [--placements stock/node,node/stock,node/node] [--record FILE]

The last line is "N passed, N failed", with one comparison per step and placement.
"""

import argparse
import asyncio
import json
import sys
import time
from dataclasses import asdict

from people import User
from scenario import PIPE, Observation, Scenario
from services import ADMIN, Stock

PLACEMENTS = ("stock/node", "node/stock", "node/node")

# Steps in which Roomwire does better than stock, with the condition that must hold there instead of equality.
BETTER = {
    # Stock backends add only the sockets of the process that served the request to a new channel.
    "a message before bob has joined": lambda seen: seen.events["bob"].get("events:channel message") is not None,
}


async def people(stock: Stock) -> dict[str, User]:
    """Signs in Alice, the admin, and Bob and Carol, whom she creates."""
    one = stock.backends[0].url
    alice = await User.sign_in(one, ADMIN["email"], ADMIN["password"])
    users = {"alice": alice}
    for name in ("bob", "carol"):
        email, password = f"{name}@example.org", f"Passw0rd!{name}"
        try:
            user = await User.sign_in(one, email, password)
        except Exception:
            body = {"email": email, "password": password, "name": name.title(), "role": "user"}
            await alice.post(one, "/api/v1/auths/add", body)
            user = await User.sign_in(one, email, password)
        users[name] = user
    return users


async def prepare(stock: Stock) -> None:
    """Creates a model that requests input of its user, and grants the permissions that the scenario requires."""
    one = stock.backends[0].url
    alice = (await people(stock))["alice"]
    body = {"id": "probe", "name": "probe", "content": PIPE, "meta": {"description": "requests input"}}
    await alice.post(one, "/api/v1/functions/create", body)
    await alice.post(one, "/api/v1/functions/id/probe/toggle")
    permissions = await alice.get(one, "/api/v1/users/default/permissions")
    for feature in ("channels", "notes", "encrypted_channels"):
        permissions["features"][feature] = True
    await alice.post(one, "/api/v1/users/default/permissions", permissions)
    for backend in stock.backends:
        await alice.get(backend.url, "/api/models?refresh=true")


async def play(stock: Stock, placement: str, nodes: dict[int, str], baseline) -> dict[str, Observation]:
    backends = [backend.url for backend in stock.backends]
    ends = [nodes[side] if kind == "node" else backends[side] for side, kind in enumerate(placement.split("/"))]
    scenario = Scenario(ends, backends, stock.redis.url, await people(stock), baseline)
    return await scenario.run()


def compare(title: str, baseline: dict[str, Observation], seen: dict[str, Observation]) -> tuple[int, int]:
    passed = failed = 0
    for name in {**baseline, **seen}:
        ours, theirs = seen.get(name), baseline.get(name)
        better = name in BETTER and ours is not None and BETTER[name](ours)
        if better or ours == theirs:
            passed += 1
            continue
        failed += 1
        print(f"-- {title}: {name}")
        for label, one in (("stock", theirs), ("here ", ours)):
            print(f"   {label} {json.dumps(one and asdict(one), ensure_ascii=False)[:4000]}")
    return passed, failed


async def run_mode(room_channels: bool, options: argparse.Namespace) -> tuple[int, int]:
    title = "room channels " + ("on" if room_channels else "off")
    stock = Stock(room_channels)
    passed = failed = 0
    try:
        await prepare(stock)
        started = time.monotonic()
        baseline = await play(stock, "stock/stock", {}, None)
        print(f"{title}: stock/stock, {len(baseline)} steps, {time.monotonic() - started:.0f} s", flush=True)
        if options.record:
            with open(options.record, "w") as file:
                json.dump({name: asdict(seen) for name, seen in baseline.items()}, file, indent=1, ensure_ascii=False)
        if not options.quick:
            again = await play(stock, "stock/stock", {}, baseline)
            unstable = compare(f"{title}: stock/stock again", baseline, again)[1]
            print(f"{title}: stock/stock again, {unstable} steps differ", flush=True)
            failed += unstable
        nodes = {side: stock.node(side + 1).url for side in (0, 1)}
        for placement in options.placements.split(","):
            started = time.monotonic()
            seen = await play(stock, placement, nodes, baseline)
            result = compare(f"{title}: {placement}", baseline, seen)
            print(f"{title}: {placement}, {result[0]} equal, {result[1]} differ, {time.monotonic() - started:.0f} s", flush=True)
            passed, failed = passed + result[0], failed + result[1]
    finally:
        stock.stop()
    return passed, failed


def main() -> int:
    parser = argparse.ArgumentParser()
    parser.add_argument("--quick", action="store_true", help="room channels on only, and the baseline only once")
    parser.add_argument("--room-channels", choices=("on", "off", "both"))
    parser.add_argument("--placements", default=",".join(PLACEMENTS))
    parser.add_argument("--record")
    options = parser.parse_args()
    modes = options.room_channels or ("on" if options.quick else "both")
    passed = failed = 0
    for room_channels in (True, False):
        if modes in ("both", "on" if room_channels else "off"):
            try:
                result = asyncio.run(run_mode(room_channels, options))
            except Exception as error:
                print(f"-- the scenario failed: {type(error).__name__}: {error}")
                result = (0, 1)
            passed, failed = passed + result[0], failed + result[1]
    print(f"{passed} passed, {failed} failed")
    return 0 if failed == 0 and passed > 0 else 1


if __name__ == "__main__":
    sys.exit(main())

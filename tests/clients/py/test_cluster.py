"""Two Roomwire nodes and a stock python-socketio server on one Redis: each addressee receives each event once."""
import asyncio
import json
import pathlib
import pickle
import subprocess
import sys
import uuid

import pytest
import redis

from programs import TIMEOUT, until

EMITTER = pathlib.Path(__file__).with_name("emitter.py")


@pytest.fixture
def room():
    """A room of the test's own."""
    return f"room-{uuid.uuid4().hex[:8]}"


@pytest.fixture
def three(cluster, people):
    """A person on node one, on node two and on the python server."""
    return [people(member) for member in cluster.members]


def enter(cluster, room, three):
    one, two, guest = three
    one.join(room)
    two.join(room)
    cluster.python.run(cluster.python.sio.enter_room(guest.sid, room))


def all_receive(people, *expected):
    for person in people:
        person.receives(*expected)


# What the python server emits.


@pytest.mark.parametrize("args", [1, "text", None, [1, 2], (1, "two", {"three": [4]}), b"bytes", ({"deep": [b"1", b""]}, b"2")])
def test_python_emits_to_a_room(cluster, three, room, args):
    enter(cluster, room, three)
    cluster.python.emit("news", args, room=room)
    cluster.python.emit("end", room=room)
    received = {None: (), tuple: args}.get(args if args is None else type(args), (args,))
    all_receive(three, ("news", *received), ("end",))


def test_python_emits_to_everybody(cluster, three):
    cluster.python.emit("all", "x")
    cluster.python.emit("end")
    all_receive(three, ("all", "x"), ("end",))


def test_python_emits_to_one_sid(cluster, three):
    for target in three:
        cluster.python.emit("yours", target.sid, room=target.sid)
    cluster.python.emit("end")
    for person in three:
        person.receives(("yours", person.sid), ("end",))


def test_python_emits_to_several_rooms_and_each_member_hears_it_once(cluster, three, room):
    one, two, guest = three
    one.join(room, room + "-b")
    two.join(room + "-b")
    cluster.python.emit("news", 1, room=[room, room + "-b"])
    cluster.python.emit("end")
    all_receive([one, two], ("news", 1), ("end",))
    guest.receives(("end",))


@pytest.mark.parametrize("skipped", [0, 1, 2, [0], [0, 1], [0, 1, 2]])
def test_python_skips_sids(cluster, three, room, skipped):
    enter(cluster, room, three)
    indices = skipped if isinstance(skipped, list) else [skipped]
    sids = [three[index].sid for index in indices]
    cluster.python.emit("news", room=room, skip_sid=sids if isinstance(skipped, list) else sids[0])
    cluster.python.emit("end", room=room)
    for index, person in enumerate(three):
        person.receives(*([] if index in indices else [("news",)]), ("end",))


def test_python_emits_to_a_namespace(cluster, people):
    custom = [people(member, "/custom") for member in cluster.members]
    main = [people(member) for member in cluster.members]
    cluster.python.emit("news", b"1", namespace="/custom")
    for namespace in ["/", "/custom"]:
        cluster.python.emit("end", namespace=namespace)
    all_receive(custom, ("news", b"1"), ("end",))
    all_receive(main, ("end",))


def test_polling_clients_hear_it_too(cluster, people, room):
    persons = [people(member, transports=["polling"]) for member in (cluster.one, cluster.two)]
    for person in persons:
        person.join(room)
    for number in range(40):
        cluster.python.emit("news", (number, b"odd") if number % 2 else number, room=room)
    all_receive(persons, *[("news", number, b"odd") if number % 2 else ("news", number) for number in range(40)])


def test_a_process_that_only_writes(cluster, three, room):
    enter(cluster, room, three)
    calls = [
        ["emit", {"event": "news", "data": [1, {"base64": "AQI="}], "room": room, "namespace": "/"}],
        ["emit", {"event": "news", "data": "not the second", "room": room, "namespace": "/", "skip_sid": three[1].sid}],
        ["emit", {"event": "end", "data": None, "namespace": "/"}],
    ]
    subprocess.run([sys.executable, EMITTER, cluster.redis.url, json.dumps(calls)], check=True, timeout=TIMEOUT)
    first, second = ("news", [1, b"\x01\x02"]), ("news", "not the second")
    for index, person in enumerate(three):
        person.receives(first, *([] if index == 1 else [second]), ("end",))


# What Roomwire's relay emits.


@pytest.mark.parametrize("sender", [0, 1])
@pytest.mark.parametrize("args", [(), (1, {"two": [3]}), (b"bytes", "text", b"")])
def test_relay_emits_to_a_room(cluster, three, room, sender, args):
    enter(cluster, room, three)
    three[sender].publish(room, "news", *args)
    three[sender].publish(room, "news", "end")
    receivers = [person for person in three if person is not three[sender]]
    all_receive(receivers, ("news", *args), ("news", "end"))
    cluster.python.emit("end", room=room)
    three[sender].receives(("end",))


def test_relay_keeps_order(cluster, three, room):
    enter(cluster, room, three)
    one, two, guest = three
    for number in range(100):
        one.publish(room, "tick", number)
    all_receive([two, guest], *[("tick", number) for number in range(100)])


# What the python server orders.


@pytest.mark.parametrize("index", [0, 1])
def test_python_moves_sids_in_and_out_of_rooms(cluster, three, room, index):
    person, sio = three[index], cluster.python.sio
    cluster.python.run(sio.enter_room(person.sid, room))
    cluster.python.emit("inside", room=room)
    person.receives(("inside",))
    # The subscription for a join by python is confirmed without notice; the ack of this join is awaited instead.
    person.join(room)
    three[1 - index].publish(room, "relay", 1)
    person.receives(("relay", 1))
    cluster.python.run(sio.leave_room(person.sid, room))
    cluster.python.emit("outside", room=room)
    cluster.python.emit("end")
    person.receives(("end",))


def test_python_closes_a_room(cluster, three, room):
    enter(cluster, room, three)
    cluster.python.run(cluster.python.sio.close_room(room))
    cluster.python.emit("nobody", room=room)
    cluster.python.emit("end")
    all_receive(three, ("end",))


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("namespace", ["/", "/custom"])
def test_python_disconnects(cluster, people, index, namespace):
    victim = people(cluster.members[index], namespace)
    witness = people(cluster.members[index], namespace)
    cluster.python.run(cluster.python.sio.disconnect(victim.sid, namespace=namespace))
    assert victim.ended.get(timeout=TIMEOUT) == "server disconnect"
    cluster.python.emit("end", namespace=namespace)
    witness.receives(("end",))


# Acks of clients on Roomwire.


@pytest.mark.parametrize("index", [0, 1])
@pytest.mark.parametrize("ack, returned", [("yes", "yes"), ((1, {"two": 3}), (1, {"two": 3})), (None, None), ([1, 2], [1, 2])])
def test_python_calls_a_client(cluster, people, index, ack, returned):
    person = people(cluster.members[index], acks={"question": ack})
    python = cluster.python
    result = python.run(python.sio.call("question", ("really", 7), sid=person.sid, timeout=TIMEOUT))
    assert (tuple(result) if isinstance(result, list) and isinstance(returned, tuple) else result) == returned
    person.receives(("question", "really", 7))


def test_two_calls_at_once_get_their_own_answers(cluster, people):
    python = cluster.python
    persons = [people(member, acks={"question": number}) for number, member in enumerate([cluster.one, cluster.two])]
    async def both():
        return await asyncio.gather(*(python.sio.call("question", sid=person.sid, timeout=TIMEOUT) for person in persons))

    assert python.run(both()) == [0, 1]


# The bus itself.


def publish(cluster, channel, message):
    with redis.Redis.from_url(cluster.redis.url) as connection:
        connection.publish(channel, message)


def emit_message(event, room, **more):
    base = {"method": "emit", "event": event, "data": [], "binary": False, "namespace": "/", "room": room}
    return {**base, "skip_sid": None, "callback": None, "host_id": uuid.uuid4().hex, **more}


def test_channels_of_single_rooms_are_heard(cluster, three, room):
    """An acked join is subscribed, so the next message is delivered."""
    one, two, _ = three
    one.join(room)
    two.join(room)
    publish(cluster, f"socketio#/#{room}", json.dumps(emit_message("news", room, data=[1])))
    publish(cluster, f"socketio#/#{room}", json.dumps(emit_message("end", room)))
    all_receive([one, two], ("news", 1), ("end",))


def test_pickle_is_rejected_and_logged(cluster, three, room):
    one, two, _ = three
    one.join(room)
    two.join(room)
    publish(cluster, "socketio", pickle.dumps(emit_message("pickled", room), protocol=4))
    publish(cluster, "socketio", json.dumps(emit_message("end", room)))
    all_receive([one, two], ("end",))
    for node in (cluster.one, cluster.two):
        until("log of the rejection", lambda: "pickle" in node.output.lower())


@pytest.mark.parametrize("garbage", [b"", b"{", b"[]", b"null", b"\xff\xfe", b'{"method":"unknown"}', b'{"method":"emit"}', b'{"method":7}'])
def test_garbage_harms_nobody(cluster, three, room, garbage):
    one, two, _ = three
    one.join(room)
    two.join(room)
    publish(cluster, "socketio", garbage)
    publish(cluster, "socketio", json.dumps(emit_message("end", room)))
    all_receive([one, two], ("end",))

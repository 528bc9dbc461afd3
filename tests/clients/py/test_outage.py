"""Redis is killed and started again: no client is disconnected, and each node serves its own clients meanwhile.

The timeout allows for the growing delays between the reconnects of a python-socketio server.
"""
import queue
import uuid

from programs import until

RETURN = 60.0


def test_redis_dies_and_comes_back(cluster, people):
    room = uuid.uuid4().hex
    one, local, two, guest = (people(member) for member in (cluster.one, cluster.one, cluster.two, cluster.python))
    clients = [one, local, two, guest]
    for person in (one, local, two):
        person.join(room)
    cluster.python.run(cluster.python.sio.enter_room(guest.sid, room))
    one.publish(room, "before")
    for person in (local, two, guest):
        person.receives(("before",))

    cluster.redis.kill()
    for number in range(20):
        one.publish(room, "meanwhile", number)
    local.receives(*[("meanwhile", number) for number in range(20)])
    until("degraded in /readyz", lambda: "degraded" in cluster.one.readiness()[1])
    assert cluster.one.readiness()[0] == 200

    # A new client is served, and can join, while Redis is away.
    late = people(cluster.one)
    late.join(room, room + "-late")
    one.publish(room, "welcome")
    late.receives(("welcome",))
    local.receives(("welcome",))

    cluster.redis.start()
    until_received(room, one, two)
    until_received(room, two, one)
    until_received(room, one, guest)
    until_received(room, two, late)
    until_emitted(cluster, room, [one, two])
    until("ready and not degraded", lambda: "degraded" not in cluster.one.readiness()[1])
    for person in clients:
        assert person.client.connected and person.ended.empty()


def until_received(room, sender, receiver):
    """Publishes as `sender` until `receiver`, on another member, has received it."""
    mark = uuid.uuid4().hex
    repeat(lambda: sender.publish(room, mark), receiver, mark)


def until_emitted(cluster, room, receivers):
    for receiver in receivers:
        mark = uuid.uuid4().hex
        repeat(lambda: cluster.python.emit(mark, room=room), receiver, mark)


def repeat(publish, receiver, mark):
    def received():
        publish()
        try:
            return receiver.received.get(timeout=0.2)[0] == mark
        except queue.Empty:
            return False

    until(f"{mark} received", received, RETURN)

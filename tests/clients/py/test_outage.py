"""Redis dies and comes back: nobody is disconnected, each node serves its own, and then the cluster is one again.

A python-socketio server waits ever longer between its attempts to come back: the patience here is for that.
"""
import queue
import uuid

from programs import until

RETURN = 60.0


def test_redis_dies_and_comes_back(cluster, people):
    room = uuid.uuid4().hex
    one, neighbour, two, guest = (people(member) for member in (cluster.one, cluster.one, cluster.two, cluster.python))
    everybody = [one, neighbour, two, guest]
    for person in (one, neighbour, two):
        person.join(room)
    cluster.python.run(cluster.python.sio.enter_room(guest.sid, room))
    one.say(room, "before")
    for person in (neighbour, two, guest):
        person.hears(("before",))

    cluster.redis.kill()
    for number in range(20):
        one.say(room, "meanwhile", number)
    neighbour.hears(*[("meanwhile", number) for number in range(20)])
    until("told in /readyz", lambda: "degraded" in cluster.one.readiness()[1])
    assert cluster.one.readiness()[0] == 200

    # A newcomer is served and may join while Redis is away.
    late = people(cluster.one)
    late.join(room, room + "-late")
    one.say(room, "welcome")
    late.hears(("welcome",))
    neighbour.hears(("welcome",))

    cluster.redis.start()
    until_heard(room, one, two)
    until_heard(room, two, one)
    until_heard(room, one, guest)
    until_heard(room, two, late)
    until_emitted(cluster, room, [one, two])
    until("ready without reserve", lambda: "degraded" not in cluster.one.readiness()[1])
    for person in everybody:
        assert person.client.connected and person.ended.empty()


def until_heard(room, speaker, hearer):
    """`speaker` repeats itself until `hearer`, elsewhere, has heard it."""
    mark = uuid.uuid4().hex
    repeat(lambda: speaker.say(room, mark), hearer, mark)


def until_emitted(cluster, room, hearers):
    for hearer in hearers:
        mark = uuid.uuid4().hex
        repeat(lambda: cluster.python.emit(mark, room=room), hearer, mark)


def repeat(say, hearer, mark):
    def heard():
        say()
        try:
            return hearer.heard.get(timeout=0.2)[0] == mark
        except queue.Empty:
            return False

    until(f"{mark} heard", heard, RETURN)

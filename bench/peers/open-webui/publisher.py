"""Publishes events as an Open WebUI backend does: with python-socketio, through Redis, from a process without clients.

Reads numbers, one per line, and publishes that many events at the given rate. `{token}` in the event is replaced by the
number of the event and the time; see `loadgen stream --help`.
"""

import argparse
import sys
import time

import orjson
import socketio


class Json:
    """The JSON encoder that Open WebUI passes to python-socketio: compact, raw UTF-8."""

    @staticmethod
    def dumps(value, **_):
        return orjson.dumps(value).decode()

    loads = staticmethod(orjson.loads)


class Manager(socketio.RedisManager):
    """With `WEBSOCKET_REDIS_ROOM_CHANNELS` an event for a room goes to a channel of that room."""

    room_channels = False

    def _publish(self, data):
        common = self.channel
        if self.room_channels and data["method"] == "emit":
            self.channel = f"{common}#{data['namespace']}#{data['room']}"
        try:
            return super()._publish(data)
        finally:
            self.channel = common


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--redis", required=True, help="URL")
    parser.add_argument("--room", required=True)
    parser.add_argument("--event", required=True, help="JSON array with the name and the argument")
    parser.add_argument("--rate", type=float, default=100, help="events per second")
    parser.add_argument("--room-channels", action="store_true")
    options = parser.parse_args()
    manager = Manager(options.redis, write_only=True, json=Json)
    manager.room_channels = options.room_channels
    number = 0
    for line in sys.stdin:
        began = time.monotonic()
        for turn in range(int(line)):
            time.sleep(max(0.0, began + turn / options.rate - time.monotonic()))
            token = f"{number:06} {time.time_ns() // 1000} "
            name, argument = orjson.loads(options.event.replace("{token}", token))
            manager.emit(name, argument, namespace="/", room=options.room)
            number += 1


main()

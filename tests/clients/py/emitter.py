"""A process that only writes to the bus: `emitter.py REDIS_URL CALLS`, where CALLS is a JSON list of [method, arguments]."""
import base64
import json
import sys

import socketio


def revive(value):
    """JSON has no bytes: {"base64": text} stands for them."""
    if isinstance(value, dict):
        if list(value) == ["base64"]:
            return base64.b64decode(value["base64"])
        return {key: revive(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [revive(inner) for inner in value]
    return value


manager = socketio.RedisManager(sys.argv[1], write_only=True)
for method, arguments in json.loads(sys.argv[2]):
    getattr(manager, method)(**revive(arguments))

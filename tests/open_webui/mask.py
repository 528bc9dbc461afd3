"""Masks what differs between runs of the scenario: ids, times and sizes."""

import re
from typing import Any

UUID = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{4}-[0-9a-f]{12}")
SOCKET = re.compile(r"(?<![A-Za-z0-9_-])[A-Za-z0-9_-]{20}(?![A-Za-z0-9_-])")
MESSAGE = re.compile(r"msg_[0-9a-f]+")
TIME = re.compile(r"(?<!\d)\d{10,20}(?!\d)")
EARLIEST = 1_000_000_000
# Sockets in events of documents: behind Roomwire these are the upstream connections. The number of `sessions` of a backend
# also depends, with stock alone, on which clients are on the same process.
SOCKET_FIELDS = ("socket_id", "sessions")
# The tools of a model: long texts that do not concern sockets.
LONG_FIELDS = ("tools",)


class Names:
    """Replaces known ids by names, and all others by placeholders."""

    def __init__(self):
        self.known: dict[str, str] = {}

    def add(self, name: str, value: str) -> str:
        self.known[value] = f"<{name}>"
        return value

    def mask(self, value: Any) -> Any:
        match value:
            case dict():
                return {self.text(key): self.field(key, item) for key, item in value.items()}
            case list() | tuple():
                return [self.mask(item) for item in value]
            case str():
                return self.text(value)
            case bool():
                return value
            case int() | float() if value > EARLIEST:
                return "<time>"
        return value

    def field(self, key: str, value: Any) -> Any:
        if key in SOCKET_FIELDS:
            return "<sockets>"
        if key in LONG_FIELDS:
            return f"<{len(value)} {key}>"
        return self.mask(value)

    def text(self, text: str) -> str:
        for value, name in self.known.items():
            text = text.replace(value, name)
        text = MESSAGE.sub("<message>", UUID.sub("<uuid>", text))
        return TIME.sub("<time>", SOCKET.sub("<socket>", text))

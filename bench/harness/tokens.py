"""Tokens of users (HS256), one for each client of a run."""

import base64
import functools
import hashlib
import hmac
import json
import tempfile
import time

from .servers import TOKEN_SECRET

# For 10 000 connections and those before them.
COUNT = 10_100
LIFE = 24 * 3600


@functools.cache
def file():
    """The path of a file with a token per line, which exists until this program ends."""
    expires = int(time.time()) + LIFE
    kept.writelines(token(number, expires) + "\n" for number in range(COUNT))
    kept.flush()
    return kept.name


def token(number, expires):
    """The token of one user, which puts its client into the room `bench`."""
    claims = {"sub": f"user-{number:06}", "exp": expires, "roomwire": {"rooms": ["bench"]}}
    signed = f"{part({'alg': 'HS256', 'typ': 'JWT'})}.{part(claims)}"
    digest = hmac.new(TOKEN_SECRET.encode(), signed.encode(), hashlib.sha256).digest()
    return f"{signed}.{encode(digest)}"


def part(content):
    return encode(json.dumps(content, separators=(",", ":")).encode())


def encode(content):
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()


kept = tempfile.NamedTemporaryFile("w", prefix="roomwire-bench-", suffix=".txt")

#!/bin/bash
# Installs the stock Open WebUI wheel into .work/open-webui/venv: with the pins of its own slim requirements, from PyPI.
# About 90 s and 800 MB, once. Nothing of it is part of this repository.
# Any Python from 3.11 to 3.13 does. The wheel does not declare 3.13, which is what Debian 13 has, but all of its pins exist for it
# and the comparison passes on it; so pip is told not to look at the declaration.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=${OPEN_WEBUI_VERSION:-0.12.4}
home=$PWD/.work/open-webui
venv=$home/venv

[ "$(cat "$venv/installed" 2>/dev/null)" = "$version" ] && exit 0

python=
for name in python3.12 python3.11 python3.13 python3; do
    "$name" -c 'import sys, venv, ensurepip; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' 2>/dev/null && { python=$name; break; }
done
[ -n "$python" ] || { echo "open-webui: needs Python 3.11, 3.12 or 3.13 with venv (Debian 12 and 13: apt-get install python3 python3-venv)" >&2; exit 1; }

mkdir -p "$home"
"$python" -m venv --clear "$venv"
pip() { "$venv/bin/pip" install -q --disable-pip-version-check --ignore-requires-python --retries 5 "$@"; }
pip --no-deps "open-webui==$version"
# The pins travel inside the wheel.
list=$("$venv/bin/python" -c 'import importlib.metadata as m
print(next(f.locate() for f in m.files("open-webui") if f.name == "requirements-slim.txt"))')
# What pip says of the parts that the slim list leaves out is expected.
pip -r "$list" 2>"$home/install.log" || { cat "$home/install.log" >&2; exit 1; }
"$venv/bin/python" -c 'import socketio, redis, pycrdt, fastapi, httpx'
echo "$version" >"$venv/installed"

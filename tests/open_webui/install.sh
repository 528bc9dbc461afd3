#!/bin/bash
# Installs the stock Open WebUI wheel into .work/open-webui/venv: with the pins of its own slim requirements, from PyPI.
# About 90 s and 800 MB, once. Nothing of it is part of this repository.
set -euo pipefail
cd "$(dirname "$0")/../.."

version=${OPEN_WEBUI_VERSION:-0.12.4}
home=$PWD/.work/open-webui
venv=$home/venv

[ "$(cat "$venv/installed" 2>/dev/null)" = "$version" ] && exit 0

python=
for name in python3.11 python3.12 python3; do
    command -v "$name" >/dev/null && "$name" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' && { python=$name; break; }
done
[ -n "$python" ] || { echo "open-webui: needs Python 3.11 or 3.12" >&2; exit 1; }

mkdir -p "$home"
"$python" -m venv --clear "$venv"
"$venv/bin/pip" install -q --disable-pip-version-check --no-deps "open-webui==$version"
# The pins travel inside the wheel.
list=$("$venv/bin/python" -c 'import importlib.metadata as m
print(next(f.locate() for f in m.files("open-webui") if f.name == "requirements-slim.txt"))')
# What pip says of the parts that the slim list leaves out is expected.
"$venv/bin/pip" install -q --disable-pip-version-check -r "$list" 2>&1 | grep -v -e 'open-webui .* requires' -e "dependency resolver" || true
"$venv/bin/python" -c 'import socketio, redis, pycrdt, fastapi'
echo "$version" >"$venv/installed"

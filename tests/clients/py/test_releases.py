"""The last release of python-socketio for Socket.IO 2, the oldest and the newest for Socket.IO 5, each in an environment
of its own.

What they can do is a table in docs/clients.md, which this test compares and writes: UPDATE_CLIENTS=1 scripts/test py
"""
import json
import os
import pathlib
import subprocess
import sys

from programs import ROOT, Node

SOCKETIO_2 = os.environ.get("PYTHON_SOCKETIO2", ROOT / ".work/venv-socketio2/bin/python")
OLDEST = os.environ.get("PYTHON_OLDEST", ROOT / ".work/venv-oldest/bin/python")
PAGE = ROOT / "docs/clients.md"
BEGIN, END = "<!-- written by tests/clients/py/test_releases.py -->", "<!-- end -->"
RELEASE = pathlib.Path(__file__).with_name("release.py")
VERSION = "from importlib.metadata import version; print(version('python-socketio'), version('python-engineio'))"


def outcome(node, python):
    """What release.py reports in the environment of an interpreter."""
    command = [str(python), str(RELEASE), node.url]
    process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        assert line == "restart\n", line + process.stderr.read()
        node.kill()
        node.start()
        output, errors = process.communicate("\n", timeout=120)
        assert process.returncode == 0, errors
        return json.loads(output)
    finally:
        process.kill()
        process.wait()


def test_releases_do_what_the_documents_state():
    node = Node(APP__KIND="relay", ENGINE__EIO3="true")
    rows = []
    try:
        for python in (SOCKETIO_2, OLDEST, sys.executable):
            version = subprocess.run([str(python), "-c", VERSION], capture_output=True, text=True, check=True, timeout=60)
            socketio, engineio = version.stdout.split()
            outcomes = outcome(node, python)
            rows.append(f"| `python-socketio` {socketio}, `python-engineio` {engineio} | {' | '.join(outcomes.values())} |")
    finally:
        node.stop()
    table = "\n".join([f"| Client | {' | '.join(outcomes)} |", "|---" * (len(outcomes) + 1) + "|", *rows])
    page = PAGE.read_text()
    before, rest = page.split(BEGIN)
    written = f"{before}{BEGIN}\n{table}\n{END}{rest.split(END, 1)[1]}"
    if os.environ.get("UPDATE_CLIENTS"):
        PAGE.write_text(written)
    else:
        assert page == written, "docs/clients.md: run UPDATE_CLIENTS=1 scripts/test py"

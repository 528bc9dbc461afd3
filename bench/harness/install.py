"""Installs and builds the requirements of a run that are missing or outdated.

Cargo, npm and pip decide that by lock files and pinned versions; every step is printed.
Also the only place that runs the load generator.
"""

import json
import os
import shutil
import subprocess
from pathlib import Path

from . import servers

BENCH = Path(__file__).resolve().parent.parent
ROOT = BENCH.parent
PEERS = BENCH / "peers"
LOADGEN = BENCH / "loadgen/target/release/loadgen"
INSTALL_TIMEOUT = 30 * 60


def prepare(name):
    """Installs one server; if that fails, prints the reason and returns False."""
    steps = {
        "node": node,
        "python": python,
        "socketioxide": socketioxide,
        "roomwire": roomwire,
        "roomwire-scraped": roomwire,
        "roomwire-recovery": roomwire,
        "stock-clients": stock_clients,
    }
    try:
        steps.get(name, lambda: None)()
        return True
    except (OSError, subprocess.SubprocessError) as error:
        print(f"{name} is skipped: {error}")
        return False


def build_load_generator():
    """Builds the load generator and the raw writer, which every run requires."""
    cargo(BENCH / "loadgen")


def node():
    """The packages of the Node peer."""
    npm(PEERS / "node")


def stock_clients():
    """The packages of the clients of bench/reliability."""
    npm(BENCH / "stock-clients")


def npm(folder):
    """`npm ci`, if the installed tree is older than the lock file."""
    installed = folder / "node_modules/.package-lock.json"
    lock = folder / "package-lock.json"
    if not installed.exists() or installed.stat().st_mtime < lock.stat().st_mtime:
        step(["npm", "ci", "--no-audit", "--no-fund"], folder)


def python():
    """Creates a virtual environment with the pinned requirements."""
    folder = PEERS / "python"
    environment = folder / ".venv"
    requirements = folder / "requirements.txt"
    done = environment / "installed"
    if done.exists() and done.stat().st_mtime >= requirements.stat().st_mtime:
        return
    step(["python3", "-m", "venv", str(environment)], folder)
    step([str(environment / "bin/pip"), "install", "-q", "-r", str(requirements)], folder)
    done.touch()


def socketioxide():
    """Builds the peer in release mode."""
    cargo(PEERS / "socketioxide")


def roomwire():
    """Builds this repository with the profile of images and packages."""
    cargo(ROOT, profile="dist")


def cargo(folder, profile="release"):
    """Runs `cargo build --locked` with a profile, with the target directory of the package."""
    command = ["cargo", "build", "--profile", profile, "--locked", "--quiet", "--target-dir", "target"]
    step(command, folder)


def step(command, folder):
    """Runs one installation step in its folder."""
    shown = os.path.relpath(folder, ROOT)
    print(f"{' '.join(command)}   (in {shown})", flush=True)
    subprocess.run(command, cwd=folder, check=True, timeout=INSTALL_TIMEOUT)


def loadgen(arguments, timeout):
    """Runs the load generator; returns its JSON report."""
    environment = {**os.environ, "RUST_BACKTRACE": "0"}
    try:
        done = subprocess.run(
            [LOADGEN, *arguments], env=environment, timeout=timeout, capture_output=True, text=True
        )
    except subprocess.TimeoutExpired as expired:
        raise servers.Failed(f"no result within {timeout} s") from expired
    if done.returncode != 0:
        lines = done.stderr.strip().splitlines()
        raise servers.Failed(lines[0] if lines else f"the load generator exited with {done.returncode}")
    return json.loads(done.stdout)


def versions():
    """The machine and the runtimes of the figures. Packages are pinned in bench/peers."""
    found = [f"{os.cpu_count()} cores", f"Linux {os.uname().release}"]
    for command in (["rustc", "--version"], ["node", "--version"], ["python3", "--version"]):
        if shutil.which(command[0]):
            version = subprocess.run(command, capture_output=True, text=True, timeout=10).stdout.strip()
            found.append(version if command[0] != "node" else f"Node {version}")
    return found

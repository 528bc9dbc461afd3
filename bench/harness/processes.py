"""Processes that a scenario stops and starts again, and the CPU time of processes and the machine."""

import contextlib
import os
import resource
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from . import servers

TICKS = os.sysconf("SC_CLK_TCK")
# The columns of /proc/stat that count time in which a processor does nothing: idle and iowait.
IDLE = (3, 4)
# A drain takes up to 20 s as shipped.
END_TIMEOUT = 40


class Process:
    """A server process. Its log is in a file of its own, its CPU time adds up over restarts."""

    def __init__(self, name, command, environment, ready):
        self.name, self.command, self.environment, self.ready = name, command, environment, ready
        self.child, self.log = None, None
        # CPU seconds of the processes that have ended.
        self.spent = 0.0

    def start(self):
        """Starts it and waits until it is ready."""
        self.log = tempfile.TemporaryFile("w+")
        self.child = subprocess.Popen(
            self.command,
            env={**os.environ, **self.environment},
            stdin=subprocess.DEVNULL,
            stdout=self.log,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        servers.wait_until_ready(self.name, self.child, self.ready, self.log)

    def send(self, number):
        """Sends a signal."""
        self.child.send_signal(number)

    def wait(self):
        """Waits for its end."""
        deadline = time.monotonic() + END_TIMEOUT
        # The CPU time of a process can be read until its exit code is collected.
        flags = os.WEXITED | os.WNOWAIT | os.WNOHANG
        while os.waitid(os.P_PID, self.child.pid, flags) is None:
            if time.monotonic() > deadline:
                raise servers.Failed(f"{self.name} has not ended {END_TIMEOUT} s after the signal")
            time.sleep(0.01)
        self.spent += cpu_seconds(self.child.pid)
        self.child.wait()
        self.child = None

    def cpu(self):
        """CPU seconds so far."""
        return self.spent + (cpu_seconds(self.child.pid) if self.child else 0.0)

    def close(self):
        """Ends it if it runs."""
        if self.child:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.child.pid, signal.SIGKILL)
            self.child.wait()


def cpu_seconds(pid):
    """CPU seconds of a process and all of its threads."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / TICKS


def busy_seconds():
    """CPU seconds that all programs of the machine have used since it started."""
    columns = Path("/proc/stat").read_text().splitlines()[0].split()[1:9]
    return sum(int(ticks) for column, ticks in enumerate(columns) if column not in IDLE) / TICKS


def raise_descriptor_limit(required):
    """For this process and its children: each connection of a run needs a descriptor at both ends."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
    if hard < required:
        print(f"the hard nofile limit is {hard}: runs that need {required} descriptors will fail")

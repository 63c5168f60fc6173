"""Runs the programs of a measurement: under a time limit, with their output, memory and moments noted."""

import os
import shlex
import signal
import subprocess
import sys
import tempfile
import time
from dataclasses import dataclass

RSS_UNIT = 1 if sys.platform == "darwin" else 1024


class Failed(Exception):
    """A part that cannot give its figure, and why."""


@dataclass
class Done:
    code: int
    seconds: float
    max_rss_bytes: int
    output: str
    # From its start to the first whole line in the watched file.
    first_line_seconds: float | None


class Runner:
    """Gives `threads` to every program, and starts none after `budget` seconds."""

    def __init__(self, threads, prefix="", budget=float("inf"), log=None):
        self.threads = threads
        self.prefix = shlex.split(prefix)
        self.deadline = time.monotonic() + budget
        self.log = log

    def run(self, command, limit=3600, watch=None):
        """Runs a program to its end; raises Failed if it fails or takes longer than `limit` seconds."""
        done = self.attempt(command, limit, watch)
        if done.code != 0:
            lines = [line for line in done.output.splitlines() if line.strip()] or ["it printed nothing"]
            errors = [line for line in lines if "error:" in line.lower()]
            raise Failed(f"exit {done.code}: {(errors or lines)[-1]}")
        return done

    def attempt(self, command, limit=3600, watch=None):
        """The same, whatever the exit status."""
        left = self.deadline - time.monotonic()
        if left < 1:
            raise Failed("not run: the time for all parts is used up")
        limit = min(limit, left)
        command = [*self.prefix, *map(str, command)]
        variables = ("RAYON_NUM_THREADS", "OMP_NUM_THREADS", "LP_NUM_THREADS")
        environment = os.environ | dict.fromkeys(variables, str(self.threads))
        # A file, because a pipe that nobody empties would stop the program.
        with tempfile.TemporaryFile() as output:
            began = time.monotonic()
            process = subprocess.Popen(
                command, stdout=output, stderr=subprocess.STDOUT, env=environment, start_new_session=True
            )
            first_line, timed_out, pid = None, False, 0
            while not pid:
                pid, status, usage = os.wait4(process.pid, os.WNOHANG)
                now = time.monotonic() - began
                if watch and first_line is None and has_line(watch):
                    first_line = now
                if not pid:
                    if now > limit and not timed_out:
                        timed_out = True
                        os.killpg(process.pid, signal.SIGKILL)
                    time.sleep(0.005 if watch and first_line is None else 0.02)
            # Popen would wait for it once more.
            process.returncode = os.waitstatus_to_exitcode(status)
            output.seek(0)
            text = output.read().decode("utf-8", errors="replace")
        if self.log:
            ended = f"[exit {process.returncode}, {now:.1f} s]"
            print(f"$ {shlex.join(command)}\n{text}{ended}\n", file=self.log, flush=True)
        if timed_out:
            raise Failed(f"not done after {limit:.0f} s")
        return Done(process.returncode, now, usage.ru_maxrss * RSS_UNIT, text, first_line)


def has_line(path):
    try:
        with open(path, "rb") as file:
            return b"\n" in file.read(1 << 16)
    except OSError:
        return False

"""Native jobs for tests: ordinary ones, and such as no operator should install."""

from __future__ import annotations

import ctypes
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from typing import Any

from zope.interface import implementer

from worker.native.interface import Context, INativeJob, InfrastructureError

Run = Callable[[dict[str, Any], Context], Any]

#: What a plug-in file consists of that shows them all to Twisted.
PLUGIN = """\
from twisted.plugin import IPlugin
from zope.interface import alsoProvides
from tests.worker.native.hostile import JOBS

for _job in JOBS:
    alsoProvides(_job, IPlugin)
    globals()[_job.name.replace("-", "_")] = _job
del _job
"""


@implementer(INativeJob)
class Job:
    """A native job made of a function."""

    def __init__(self, name: str, call: Run, is_quick: bool = False) -> None:
        self.name = name
        self.is_quick = is_quick
        self._call = call

    def run(self, arguments: dict[str, Any], context: Context) -> dict[str, Any] | None:
        result: dict[str, Any] | None = self._call(arguments, context)
        return result


JOBS: list[Job] = []


def job(name: str, is_quick: bool = False) -> Callable[[Run], Run]:
    """Make a native job of a function."""

    def register(call: Run) -> Run:
        JOBS.append(Job(name, call, is_quick))
        return call

    return register


# -- ordinary ones


@job("echo")
@job("quick-echo", is_quick=True)
def echo(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    return arguments


def _talk(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    print("on stdout")
    print("on stderr", file=sys.stderr)
    context.log("by the context")
    return {"job": context.job, "attempt": context.attempt}


job("quick-talk", is_quick=True)(_talk)


@job("talk")
def talk(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    logging.getLogger("a.library").info("by logging")
    subprocess.run(["echo", "by a process"], check=True)
    return _talk(arguments, context)


@job("process")
def process(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    """What a job can see of its own process."""
    return {
        "pid": os.getpid(),
        "session": os.getsid(0),
        "runner": os.getppid(),
        "hatchery": int(open(f"/proc/{os.getppid()}/stat").read().split()[3]),
        "descriptors": sorted(os.listdir("/proc/self/fd")),
        "input": sys.stdin.read(),
    }


@job("wait")
def wait(arguments: dict[str, Any], context: Context) -> None:
    """Say so, then wait until a file is there."""
    print("waiting")
    while not os.path.exists(arguments["gate"]):
        time.sleep(0.01)


# -- those that fail


@job("raise")
@job("quick-raise", is_quick=True)
def raising(arguments: dict[str, Any], context: Context) -> None:
    raise KeyError("no such\nthing")


@job("outage")
@job("quick-outage", is_quick=True)
def outage(arguments: dict[str, Any], context: Context) -> None:
    raise InfrastructureError("the mirror does not answer")


@job("exit-politely")
@job("quick-exit-politely", is_quick=True)
def exit_politely(arguments: dict[str, Any], context: Context) -> None:
    sys.exit(arguments.get("status"))


@job("raise-nonsense")
@job("quick-raise-nonsense", is_quick=True)
def raise_nonsense(arguments: dict[str, Any], context: Context) -> None:
    class Nonsense(BaseException):
        def __str__(self) -> str:
            raise ValueError

    raise Nonsense


RETURNED: dict[str, Any] = {
    "a list": [1],
    "a text": "text",
    "false": False,
    "bytes": {"x": b"bytes"},
    "a set": {"x": {1}},
    "an object": {"x": object()},
    "nan": {"x": float("nan")},
    "a lone surrogate": {"x": "\ud800"},
    "a number without end": {"x": 2**70},
    "too much": {"x": "y" * 2**16},
}
_endless: dict[str, Any] = {}
_endless["x"] = _endless
RETURNED["itself"] = _endless
RETURNED["far too much"] = {"x": "y" * 2**26}


@job("return")
@job("quick-return", is_quick=True)
def returning(arguments: dict[str, Any], context: Context) -> Any:
    return RETURNED[arguments["what"]]


# -- those that do worse


@job("spin")
@job("quick-spin", is_quick=True)
def spin(arguments: dict[str, Any], context: Context) -> None:
    print("spinning", flush=True)
    while True:
        try:
            while True:
                pass
        except Exception:
            pass


@job("quick-sleep", is_quick=True)
def quick_sleep(arguments: dict[str, Any], context: Context) -> None:
    time.sleep(1000)


@job("exit-hard")
def exit_hard(arguments: dict[str, Any], context: Context) -> None:
    print("bye", flush=True)
    os._exit(arguments["status"])


@job("crash")
def crash(arguments: dict[str, Any], context: Context) -> None:
    ctypes.string_at(0)


@job("kill-itself")
def kill_itself(arguments: dict[str, Any], context: Context) -> None:
    os.kill(os.getpid(), signal.SIGKILL)


@job("kill-runner")
def kill_runner(arguments: dict[str, Any], context: Context) -> None:
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(1000)


@job("stop-runner")
def stop_runner(arguments: dict[str, Any], context: Context) -> None:
    os.kill(os.getppid(), signal.SIGSTOP)
    open(arguments["gate"], "w").close()
    time.sleep(1000)


@job("close-all")
def close_all(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    os.closerange(0, 1000)
    return {"x": 1}


@job("write-everywhere")
def write_everywhere(arguments: dict[str, Any], context: Context) -> dict[str, Any]:
    for descriptor in range(3, 100):
        try:
            os.write(descriptor, b"\xc1" * 100_000)
        except OSError:
            pass
    return {"x": 1}


@job("print-much")
@job("quick-print-much", is_quick=True)
def print_much(arguments: dict[str, Any], context: Context) -> None:
    line = "x" * 99_999
    for _ in range(arguments["bytes"] // 100_000):
        print(line)


def _daemon(mark: str) -> None:
    """A process that nobody waits for, in a session of its own; it sleeps already."""
    sleeps_end, sleeps = os.pipe()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            os.execvp("sleep", ["sleep", mark])
        os._exit(0)
    os.wait()
    os.close(sleeps)
    os.read(sleeps_end, 1)  # The kernel closes the other end as it begins the program.


@job("leave-daemon")
def leave_daemon(arguments: dict[str, Any], context: Context) -> None:
    _daemon(arguments["mark"])


@job("daemon-and-wait")
def daemon_and_wait(arguments: dict[str, Any], context: Context) -> None:
    _daemon(arguments["mark"])
    subprocess.Popen(["sleep", arguments["mark"]])
    print("left", flush=True)
    time.sleep(1000)


@job("daemon-and-kill-runner")
def daemon_and_kill_runner(arguments: dict[str, Any], context: Context) -> None:
    _daemon(arguments["mark"])
    os.kill(os.getppid(), signal.SIGKILL)
    time.sleep(1000)


@job("fork-bomb")
def fork_bomb(arguments: dict[str, Any], context: Context) -> None:
    """Each of these has a successor before it ends."""
    print("left", flush=True)
    while True:
        if os.fork() > 0:
            os._exit(0)
        os.setsid()


@job("thread")
def thread(arguments: dict[str, Any], context: Context) -> None:
    threading.Thread(target=time.sleep, args=(1000,)).start()

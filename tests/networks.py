"""Two hosts on one machine: network namespaces with a cable between them."""

from __future__ import annotations

import ctypes
import os
import shutil
import subprocess
from pathlib import Path
from uuid import uuid4

from twisted.trial.unittest import TestCase

from tests.requirements import require

MASTER, WORKER = "10.99.0.1", "10.99.0.2"
_CLONE_NEWNET = 0x40000000


class TwoHosts:
    """This process and what it starts are on the first host until ``test`` ends.

    What `on_second` is put before runs on the second one.
    """

    def __init__(self, test: TestCase) -> None:
        require(test, os.geteuid() == 0, "network namespaces need root")
        for program in ("ip", "iptables-legacy"):
            require(test, shutil.which(program) is not None, f"there is no {program}")
        mark = uuid4().hex[:6]
        self._first, self._second = f"hr-{mark}-m", f"hr-{mark}-w"
        for name in (self._first, self._second):
            _run("ip", "netns", "add", name)
            test.addCleanup(_run, "ip", "netns", "del", name)
        cable = ("type", "veth", "peer", "name", "cable", "netns", self._second)
        _run("ip", "-n", self._first, "link", "add", "cable", *cable)
        for name, address in ((self._first, MASTER), (self._second, WORKER)):
            _run("ip", "-n", name, "address", "add", f"{address}/24", "dev", "cable")
            _run("ip", "-n", name, "link", "set", "cable", "up")
            _run("ip", "-n", name, "link", "set", "lo", "up")
        home = os.open("/proc/self/ns/net", os.O_RDONLY)
        test.addCleanup(os.close, home)
        test.addCleanup(_enter, home)
        with Path("/run/netns", self._first).open() as first:
            _enter(first.fileno())

    @property
    def on_second(self) -> list[str]:
        """What to put before a command."""
        return ["ip", "netns", "exec", self._second]

    def cut(self) -> None:
        """Nothing passes in either direction, and nobody is told."""
        self._both("-I", "INPUT", "-i", "cable", "-j", "DROP")

    def lose(self, share: float) -> None:
        """This share of all packets is lost."""
        chance = ("-m", "statistic", "--mode", "random", "--probability", str(share))
        self._both("-I", "INPUT", "-i", "cable", *chance, "-j", "DROP")

    def mend(self) -> None:
        """All is well again."""
        self._both("-F", "INPUT")

    def _both(self, *rule: str) -> None:
        for name in (self._first, self._second):
            _run("ip", "netns", "exec", name, "iptables-legacy", "-w", *rule)


def _enter(descriptor: int) -> None:
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.setns(descriptor, _CLONE_NEWNET) != 0:
        raise OSError(ctypes.get_errno(), "setns")


def _run(*command: str) -> None:
    subprocess.run(command, check=True, capture_output=True)

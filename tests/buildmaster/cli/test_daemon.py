from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.internet.process import ProcessReader
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase

from buildmaster.cli import daemon as daemon_module
from buildmaster.cli.daemon import Daemon
from tests.requirements import require

#: Runs a daemon, tells its process id, and waits to be killed.
PARENT = """
import sys
from pathlib import Path
from twisted.internet import reactor
from buildmaster.cli import daemon
daemon._TWISTD = "import time; time.sleep(60)"
child = daemon.Daemon(reactor, "child", Path(sys.argv[1]))
reactor.callWhenRunning(child.start, [])
reactor.callWhenRunning(lambda: print(child.pid, flush=True))
reactor.run()
"""


class DaemonTests(TestCase):
    """Real processes, which run a script in twistd's stead."""

    timeout = 30

    def setUp(self) -> None:
        """A place for the log."""
        self.log = Path(self.mktemp()).absolute() / "logs" / "child.log"
        self.daemon = Daemon(reactor, "child", self.log)
        self.addCleanup(self.daemon.kill)

    def start(self, script: str) -> None:
        """Start the daemon."""
        self.patch(daemon_module, "_TWISTD", script)
        self.daemon.start([])

    async def said(self, text: str) -> None:
        """Wait until the daemon has said ``text``."""
        while text not in self.daemon.last_words():
            await deferLater(reactor, 0.005)

    async def test_its_end_is_told_with_its_last_words(self) -> None:
        self.start("import sys; sys.exit('the port is taken')")
        self.assertEqual(await self.daemon.ended, "ended with status 1")
        self.assertEqual(self.daemon.last_words(), ["the port is taken"])

    async def test_without_last_words_the_end_of_its_log_is_shown(self) -> None:
        self.start("pass")
        self.log.write_text("".join(f"line {number}\n" for number in range(100)))
        self.assertEqual(await self.daemon.ended, "ended by itself")
        self.assertEqual(self.daemon.last_words()[-1], "line 99")
        self.assertLess(len(self.daemon.last_words()), 30)

    async def test_a_signal_is_named(self) -> None:
        self.start("import os; os.kill(os.getpid(), 9)")
        self.assertEqual(await self.daemon.ended, "was ended by SIGKILL")

    async def test_it_is_asked_to_stop(self) -> None:
        self.start(
            "import signal, sys, time\n"
            "signal.signal(signal.SIGTERM, lambda *_: sys.exit('stopped'))\n"
            # In one write: the signal may come right behind the first.
            "sys.stdout.write('ready\\n'); sys.stdout.flush()\n"
            "time.sleep(60)"
        )
        await self.said("ready")
        await self.daemon.stop(within=30.0)
        self.assertIn("stopped", self.daemon.last_words())

    async def test_if_it_does_not_stop_it_is_killed(self) -> None:
        self.start(
            "import signal, time\n"
            "signal.signal(signal.SIGTERM, signal.SIG_IGN)\n"
            "print('ready', flush=True)\n"
            "time.sleep(60)"
        )
        await self.said("ready")
        await self.daemon.stop(within=0.05)
        self.assertEqual(await self.daemon.ended, "was ended by SIGKILL")

    async def test_stopping_what_has_ended_is_nothing(self) -> None:
        self.start("pass")
        ended: Deferred[None] = Deferred()
        self.daemon.ended.addCallback(lambda how: ended.callback(None))
        await ended
        await self.daemon.stop(within=30.0)
        self.daemon.kill()

    async def test_something_that_keeps_its_pipes_open_does_not_hide_its_end(self) -> None:
        self.start(
            "import subprocess, sys\n"
            "child = subprocess.Popen(['sleep', '60'])\n"
            "print(child.pid, flush=True)"
        )
        self.assertEqual(await self.daemon.ended, "ended by itself")
        os.kill(int(self.daemon.last_words()[0]), signal.SIGKILL)
        # The pipes close when that one is gone.
        while any(isinstance(each, ProcessReader) for each in reactor.getReaders()):
            await deferLater(reactor, 0.01)

    async def test_it_hears_nothing_of_an_interrupt_at_the_keyboard(self) -> None:
        """Which goes to a whole session: ours."""
        require(self, shutil.which("setsid") is not None, "no setsid")
        self.start("import os; print(os.getsid(0) == os.getpid(), os.getpid())")
        pid = self.daemon.pid
        await self.daemon.ended
        self.assertEqual(self.daemon.last_words(), [f"True {pid}"])


class OrphanTests(TestCase):
    """What outlives us."""

    timeout = 30

    async def test_it_does_not_outlive_a_parent_that_was_killed(self) -> None:
        require(self, shutil.which("setpriv") is not None, "no setpriv")
        log = Path(self.mktemp()).absolute() / "child.log"
        parent = subprocess.Popen(
            [sys.executable, "-c", PARENT, str(log)],
            stdout=subprocess.PIPE,
            cwd=Path(__file__).parents[3],
        )
        assert parent.stdout is not None
        with parent.stdout:
            child = int(parent.stdout.readline())
        parent.kill()
        parent.wait()
        while Path(f"/proc/{child}").exists() and "Z" not in _state(child):
            await deferLater(reactor, 0.005)


def _state(pid: int) -> str:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0]
    except OSError:
        return "Z"

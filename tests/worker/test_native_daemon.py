"""Native jobs on the whole daemon, in a process of its own, with a fake master."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

from twisted.internet import reactor
from twisted.internet.defer import Deferred, DeferredList
from twisted.trial.unittest import TestCase

from protocol.messages import Accepted, Attempt, Refused, Report
from protocol.order import NativeOrder
from protocol.results import Result
from tests.worker.daemons import WorkerHome
from tests.worker.fake_master import FakeMaster
from tests.worker.native.plugins import show_plugins
from tests.worker.supervisor.attempts import folder, job, order, repository
from worker.environments import traces


def native(performs: str, number: int = 7, **arguments: Any) -> NativeOrder:
    return NativeOrder(job=number, attempt=1, performs=performs, arguments=arguments)


class NativeDaemonTests(TestCase):
    timeout = 60

    async def farm(self, version: int = 2, **settings: object) -> FakeMaster:
        """A master that a new worker, ``self.home``, has joined."""
        show_plugins(self)
        master = FakeMaster(self, version=version)
        await master.listen()
        self.home = WorkerHome(self, master.port, **settings)
        daemon = self.home.start()
        # Whichever comes first: one that cannot start would be waited for in vain.
        joined = master.until(lambda: master.sessions and master.session.hello)
        await DeferredList([joined, daemon.gone()], fireOnOneCallback=True)
        self.assertIsNone(daemon.status, daemon.said)
        return master

    async def cannot_start(self, **settings: object) -> str:
        """What a daemon says that does not start."""
        show_plugins(self)
        daemon = WorkerHome(self, 1, **settings).start()
        await daemon.gone()
        self.assertEqual(daemon.status, 1, daemon.said)
        return daemon.said.decode()

    async def test_says_what_it_performs_and_how_large_it_is(self) -> None:
        master = await self.farm(
            native_commands={"list": ["ls", "/"]},
            tags=["fast"],
            restricted_tags=["gpu"],
            memory=1234 * 2**20,
        )
        hello = master.session.hello
        assert hello is not None
        self.assertLessEqual({"noop", "sleep", "list", "echo"}, set(hello.performs))
        self.assertEqual(list(hello.performs), sorted(hello.performs))
        self.assertEqual((hello.tags, hello.restricted_tags), (("fast",), ("gpu",)))
        self.assertEqual((hello.cpu, hello.memory), (len(os.sched_getaffinity(0)), 1234))
        assert hello.disk is not None
        self.assertGreater(hello.disk, 0)

    async def test_performs_nothing_where_it_should_not(self) -> None:
        master = await self.farm(native_jobs=False)
        hello = master.session.hello
        assert hello is not None
        self.assertEqual(hello.performs, ())
        reason = await master.until_refused(master.start(native("noop")))
        self.assertIn("performs no 'noop'", reason)

    async def test_ends_that_come_together_are_told_in_one_frame(self) -> None:
        master = await self.farm(slots=100)
        await master.until_beat()
        session = master.session
        frames, heard = session.frames, len(session.heard)
        key = master.start(*(native("noop", number) for number in range(1, 101)))
        ran = await master.until_ended(key)
        self.assertEqual(ran.end.result, Result.SUCCESS)
        told = session.heard[heard:]
        self.assertEqual(len([m for m in told if isinstance(m, Report)]), 100)
        self.assertEqual([m for m in told if isinstance(m, Accepted)], [])
        # A sign of life may have come between.
        self.assertLessEqual(session.frames - frames, 2)
        await master.until_let_go(key)

    async def test_a_master_of_version_1_gets_builds_done(self) -> None:
        master = await self.farm(version=1)
        source = repository(self, {"file": "the content\n"})
        ran = await master.until_ended(
            master.start(order(source, [[("show", job("cat file"))]]))
        )
        self.assertEqual(ran.end.result, Result.SUCCESS)
        self.assertEqual(master.session.frames, len(master.session.heard))

    async def test_builds_and_native_jobs_share_the_slots(self) -> None:
        master = await self.farm(slots=1)
        go = folder(self) / "go"
        wait = job(f"while ! test -e {go}; do sleep 0.05; done")
        build = master.start(order(repository(self, {"f": "x"}), [[("wait", wait)]]))
        await master.until_accepted(build)
        reason = await master.until_refused(master.start(native("noop", 8)))
        self.assertIn("all 1 slots", reason)
        go.touch()
        await master.until_ended(build)
        gate = folder(self) / "gate"
        key = master.start(native("wait", 9, gate=str(gate)))
        await master.until_log(key, "waiting")
        other = order(repository(self, {"f": "x"}), [[("a", job("true"))]], job=10)
        self.assertIn("all 1 slots", await master.until_refused(master.start(other)))
        gate.touch()
        await master.until_ended(key)

    async def test_a_job_outlives_the_line_and_its_end_comes_later(self) -> None:
        master = await self.farm()
        gate = folder(self) / "gate"
        key = master.start(native("wait", gate=str(gate)))
        await master.until_log(key, "waiting")
        self.cut(master)
        session = await master.until_joined(2)
        assert session.hello is not None
        [held] = session.hello.holding
        self.assertEqual((held.job, held.attempt, held.lives), (7, 1, True))
        gate.touch()
        ran = await master.until_ended(key)
        self.assertEqual((ran.end.result, ran.log()), (Result.SUCCESS, "waiting\n"))
        await master.until_let_go(key)

    def cut(self, master: FakeMaster) -> None:
        line = master.session.line
        assert line is not None
        line._broker.transport.abortConnection()  # type: ignore[attr-defined]

    async def test_with_a_killed_daemon_its_jobs_are_lost_and_leave_nobody(self) -> None:
        master = await self.farm()
        seen = await master.until_ended(master.start(native("process", 6)))
        assert seen.end.output is not None
        key = master.start(native("daemon-and-wait", mark="200001"))
        await master.until_log(key, "left")
        self.home.daemons[0].signal(signal.SIGKILL)
        await master.until(lambda: master.session.ended)
        for process in (seen.end.output["runner"], seen.end.output["hatchery"]):
            while Path(f"/proc/{process}/exe").exists():
                await _turn()
        while [p for p in traces.processes() if _sleeps(p)]:
            await _turn()
        self.home.start()
        session = await master.until_joined(2)
        assert session.hello is not None
        self.assertEqual(session.hello.holding, ())

    async def test_a_daemon_that_stops_tells_the_end_of_its_jobs(self) -> None:
        master = await self.farm()
        key = master.start(native("spin"))
        await master.until_log(key, "spinning")
        self.home.daemons[0].signal(signal.SIGTERM)
        ran = await master.until_ended(key)
        self.assertEqual(ran.end.result, Result.ERROR)
        self.assertEqual(ran.end.reason, "its worker was stopped")
        await self.home.daemons[0].gone()
        self.assertEqual(self.home.daemons[0].status, -signal.SIGTERM)

    async def test_a_cancelled_and_a_forgotten_job_end(self) -> None:
        master = await self.farm()
        key = master.start(native("spin"))
        await master.until_log(key, "spinning")
        master.cancel(key, "enough")
        ran = await master.until_ended(key)
        self.assertEqual(ran.end.reason, "cancelled: enough")
        key = master.start(native("spin", 8))
        await master.until_log(key, "spinning")
        master.forget(key)
        await master.until_let_go(key)
        ran = await master.until_ended(master.start(native("echo", 9, x=1)))
        self.assertEqual(ran.end.output, {"x": 1})

    async def test_what_an_operator_must_mend_is_said_at_the_start(self) -> None:
        for commands, words in (
            ({"x": ["/no/such/program"]}, "no program '/no/such/program'"),
            ({"noop": ["true"]}, "noop is the name of an installed callable"),
            ({"a b": ["true"]}, "'a b' is no name for a command"),
            ({"x": []}, "native_commands"),
        ):
            self.assertIn(words, await self.cannot_start(native_commands=commands))

    async def test_a_refusal_is_no_report(self) -> None:
        master = await self.farm()
        key = master.start(native("noop", 1), native("no-such-job", 2), native("noop", 3))
        await master.until_ended(key)
        [refused] = [m for m in master.session.heard if isinstance(m, Refused)]
        self.assertEqual(Attempt(refused.job, refused.attempt), Attempt(2, 1))


def _sleeps(process: int) -> bool:
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return words == b"sleep\x00200001\x00"


def _turn() -> Deferred[None]:
    turned: Deferred[None] = Deferred()
    reactor.callLater(0.01, turned.callback, None)
    return turned

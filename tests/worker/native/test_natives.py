"""`worker.native`: native attempts with real runners, and jobs that do their worst."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import Any

import zstandard
from twisted.internet import reactor
from twisted.internet.defer import Deferred
from twisted.trial.unittest import TestCase

from protocol.messages import (
    Attempt,
    Cancel,
    Ended,
    Forget,
    Holding,
    LogChunk,
    Recorded,
    Start,
    Welcome,
)
from protocol.order import Limits, NativeOrder
from protocol.results import Result
from tests.worker.list_mouth import ListMouth
from tests.worker.native.hostile import JOBS, RETURNED
from tests.worker.native.plugins import show_plugins
from tests.worker.supervisor.attempts import folder
from worker.environments import traces
from worker.native import natives as natives_module
from worker.native import quick as quick_module
from worker.native import runners as runners_module
from worker.native.builtin import BUILT_IN
from worker.native.natives import Natives
from worker.native.registry import named
from worker.native.runner import LOG_LIMIT
from worker.slots import Slots

#: What `sleep` is told to wait for, so that it can be found; another one for each test.
_marks = iter(range(100_000, 200_000))


class NativesTestCase(TestCase):
    """Natives of a daemon that is the test itself."""

    timeout = 60
    slots = 4
    commands: dict[str, tuple[str, ...]] = {}

    def setUp(self) -> None:
        show_plugins(self)
        self.now = 1000.0
        self.natives = Natives(
            reactor,
            Slots(self.slots),
            named([*BUILT_IN, *JOBS]),
            self.commands,
            clock=lambda: self.now,
        )
        self.addCleanup(lambda: Deferred.fromCoroutine(self.natives.stop("over")))
        self.mark = str(next(_marks))
        self.job = 6  #: the newest
        self.mouth = self.session()

    def session(
        self, recorded: dict[int, int] | None = None, forget: tuple[int, ...] = ()
    ) -> ListMouth:
        """A session begins."""
        self.natives.suspend()
        self.mouth = ListMouth()
        welcome = Welcome(
            version=2,
            session="s",
            master="m",
            heartbeat=5.0,
            recorded=tuple(
                Recorded(job=job, attempt=1, number=number)
                for job, number in (recorded or {}).items()
            ),
            forget=tuple(Attempt(job, 1) for job in forget),
        )
        self.natives.resume(self.mouth, welcome)
        return self.mouth

    def start(
        self,
        performs: str,
        job: int | None = None,
        *,
        run: float | None = None,
        idle: float | None = None,
        fence_after: float | None = None,
        **arguments: Any,
    ) -> None:
        """Order it, as a job of another number than the one before."""
        self.job = self.job + 1 if job is None else job
        order = NativeOrder(
            job=self.job,
            attempt=1,
            performs=performs,
            arguments=arguments,
            limits=Limits(run=run, idle=idle),
            fence_after=fence_after,
        )
        self.natives.take(Start(order=order))

    async def ran(self, performs: str, **arguments: Any) -> Ended:
        """It ran, and its end is recorded."""
        self.start(performs, **arguments)
        return await self.ended()

    async def ended(self, job: int | None = None) -> Ended:
        job = self.job if job is None else job
        await self.mouth.until(f"end {job}")
        report = [r for r in self.mouth.reports if r.job == job][-1]
        assert isinstance(report.body, Ended)
        self.natives.settle(Recorded(job=job, attempt=1, number=report.number))
        self.assertNotIn(job, [held.job for held in self.natives.holding()])
        return report.body

    def log(self, job: int | None = None) -> str:
        """What it printed; chunks follow each other without gaps."""
        job = self.job if job is None else job
        text = b""
        for report in self.mouth.reports:
            if report.job == job and isinstance(report.body, LogChunk):
                self.assertEqual(report.body.start, len(text))
                self.assertIsNone(report.body.name)
                data = zstandard.decompress(report.body.data)
                self.assertEqual(report.body.length, len(data))
                text += data
        return text.decode()

    async def until_logged(self, text: str, job: int | None = None) -> None:
        while text not in self.log(job):
            await _turn()

    def sleepers(self) -> list[int]:
        """Processes that this test's jobs left sleeping."""
        wanted = ["sleep", self.mark]
        return [p for p in traces.processes() if _command(p) == wanted]

    async def until_asleep(self, number: int) -> None:
        while len(self.sleepers()) < number:
            await _turn()

    async def until_nobody_sleeps(self) -> None:
        while self.sleepers():
            await _turn()

    async def until_gone(self, *processes: int) -> None:
        while any(_is_alive(process) for process in processes):
            await _turn()


def _command(process: int) -> list[str]:
    try:
        words = Path(f"/proc/{process}/cmdline").read_bytes()
    except (FileNotFoundError, ProcessLookupError):
        return []
    return words.decode(errors="replace").rstrip("\0").split("\0")


def _is_alive(process: int) -> bool:
    try:
        return traces.stat_fields(process)[0] not in "ZX"
    except ProcessLookupError:
        return False


def _turn() -> Deferred[None]:
    turned: Deferred[None] = Deferred()
    reactor.callLater(0.01, turned.callback, None)
    return turned


class PerformingTests(NativesTestCase):
    """What ordinary jobs meet with."""

    async def test_a_quick_job_that_prints_nothing_is_told_in_one_message(self) -> None:
        self.start("noop")
        self.assertEqual(self.mouth.said, ["report 7", "end 7"])
        ended = await self.ended()
        self.assertEqual((ended.result, ended.reason), (Result.SUCCESS, ""))
        self.assertEqual((ended.output, ended.exit_status), (None, None))
        assert ended.seconds is not None
        self.assertEqual(self.natives.holding(), ())

    async def test_arguments_go_in_and_an_output_comes_out(self) -> None:
        for performs in ("echo", "quick-echo"):
            ended = await self.ran(performs, x=[1, {"ä": None}])
            self.assertEqual(ended.output, {"x": [1, {"ä": None}]})
            self.assertEqual(self.log(), "")

    async def test_another_job_has_a_process_and_one_report(self) -> None:
        await self.ran("echo")
        self.assertEqual(self.mouth.said, ["accepted 7", "report 7", "end 7"])

    async def test_what_is_printed_is_the_log(self) -> None:
        ended = await self.ran("talk")
        self.assertEqual(ended.output, {"job": 7, "attempt": 1})
        self.assertEqual(
            self.log().splitlines(),
            [
                "INFO a.library: by logging",
                "by a process",
                "on stdout",
                "on stderr",
                "by the context",
            ],
        )

    async def test_also_of_a_quick_one_which_is_then_accepted_first(self) -> None:
        self.start("quick-talk")
        self.assertEqual(self.mouth.said, ["accepted 7", "report 7", "report 7", "end 7"])
        self.assertEqual(self.log(), "on stdout\non stderr\nby the context\n")
        await self.ended()

    async def test_a_job_has_a_process_and_a_session_of_its_own(self) -> None:
        first = (await self.ran("process")).output
        again = (await self.ran("process")).output
        assert first is not None and again is not None
        self.assertEqual(first["pid"], first["session"])
        self.assertNotEqual(first["pid"], again["pid"])
        self.assertEqual(first["runner"], again["runner"])
        self.assertNotIn(os.getpid(), (first["runner"], first["hatchery"]))
        # Its three, the way for its outcome, and the folder that it looks into.
        self.assertEqual(len(first["descriptors"]), 5)
        self.assertEqual(first["input"], "")

    async def test_jobs_run_side_by_side(self) -> None:
        gate = folder(self) / "gate"
        for job in (1, 2, 3, 4):
            self.start("wait", job, gate=str(gate))
            await self.until_logged("waiting", job)
        gate.touch()
        for job in (1, 2, 3, 4):
            self.assertEqual((await self.ended(job)).result, Result.SUCCESS)

    async def test_the_log_comes_while_it_runs(self) -> None:
        gate = folder(self) / "gate"
        self.start("wait", gate=str(gate))
        await self.until_logged("waiting\n")
        self.assertEqual(self.natives.holding(), (Holding(job=7, attempt=1, lives=True),))
        gate.touch()
        await self.ended()


class RefusingTests(NativesTestCase):
    slots = 1

    async def test_what_is_not_performed_here_is_refused(self) -> None:
        self.start("nothing-like-that")
        [refusal] = self.mouth.said
        self.assertIn("performs no 'nothing-like-that'", refusal)
        self.assertEqual(self.natives.holding(), ())

    async def test_without_a_free_slot_even_a_quick_one_is_refused(self) -> None:
        self.start("sleep", seconds=1000)
        self.start("noop", 8)
        self.assertIn("refused 8: all 1 slots", self.mouth.said[-1])
        self.start("sleep", 7, seconds=1000)
        self.assertIn("has that attempt already", self.mouth.said[-1])
        self.natives.cancel(Cancel(job=7, attempt=1, why=""))
        await self.ended()
        self.start("noop", 8)
        await self.ended(8)

    async def test_ends_that_wait_to_be_recorded_take_no_slot_but_have_a_limit(
        self,
    ) -> None:
        self.patch(natives_module, "KEPT_LIMIT", 3)
        for job in (1, 2, 3, 4):
            self.start("noop", job)
        self.assertIn("refused 4: 3 ends", self.mouth.said[-1])
        for job in (1, 2, 3):
            await self.ended(job)

    async def test_after_the_stop_nothing_is_taken(self) -> None:
        await self.natives.stop("over")
        self.start("noop")
        self.assertEqual(self.mouth.said, ["refused 7: this worker is stopping"])


class FailingTests(NativesTestCase):
    """Whose fault it was, and a sentence that says so."""

    async def test_an_exception_is_a_failure_and_its_traceback_is_in_the_log(self) -> None:
        for performs in ("raise", "quick-raise"):
            ended = await self.ran(performs)
            self.assertEqual(ended.result, Result.FAILURE)
            self.assertEqual(ended.reason, r"KeyError: 'no such\nthing'")
            self.assertIn("Traceback (most recent call last)", self.log())
            self.assertIn("in raising", self.log())
            self.session()

    async def test_an_outage_is_an_error(self) -> None:
        for performs in ("outage", "quick-outage"):
            ended = await self.ran(performs)
            self.assertEqual(ended.result, Result.ERROR)
            self.assertEqual(ended.reason, "the mirror does not answer")
            self.assertFalse(ended.final)

    async def test_sys_exit_is_a_failure_whatever_it_says(self) -> None:
        for performs in ("exit-politely", "quick-exit-politely"):
            for status in (0, None, 3, "x" * 9000):
                ended = await self.ran(performs, status=status)
                self.assertEqual(ended.result, Result.FAILURE)
                self.assertIn("it called sys.exit(", ended.reason)

    async def test_an_exception_that_cannot_be_shown_is_one_all_the_same(self) -> None:
        for performs in ("raise-nonsense", "quick-raise-nonsense"):
            ended = await self.ran(performs)
            self.assertEqual(ended.result, Result.FAILURE)
            self.assertIn("Nonsense", ended.reason)

    async def test_a_wrong_argument_is_a_failure(self) -> None:
        ended = await self.ran("sleep")
        self.assertEqual(
            (ended.result, ended.reason), (Result.FAILURE, "KeyError: 'seconds'")
        )

    async def test_only_a_small_json_object_may_be_returned(self) -> None:
        for performs in ("return", "quick-return"):
            # Nobody is quick with the last one.
            for what in [*RETURNED][: -1 if performs == "quick-return" else None]:
                ended = await self.ran(performs, what=what)
                self.assertEqual(ended.result, Result.FAILURE, what)
                self.assertRegex(
                    ended.reason, "^(it returned a|what it returned (is not|cannot))", what
                )
                self.assertIsNone(ended.output)


class HostileTests(NativesTestCase):
    """Each leaves the daemon well, and the next job's way free."""

    async def all_is_well(self) -> None:
        ended = await self.ran("echo", x=1)
        self.assertEqual((ended.result, ended.output), (Result.SUCCESS, {"x": 1}))

    async def test_one_that_never_ends_is_stopped_at_its_limit(self) -> None:
        self.start("spin", run=0.3)
        ended = await self.ended()
        self.assertEqual(ended.result, Result.TIMEOUT)
        self.assertEqual(ended.reason, "it took longer than the 0.3 s it may take")
        self.assertEqual(self.log(), "spinning\n")
        await self.all_is_well()

    async def test_one_that_is_silent_for_too_long_is_stopped(self) -> None:
        self.start("spin", run=1000, idle=0.3)
        ended = await self.ended()
        self.assertEqual(ended.result, Result.TIMEOUT)
        self.assertIn("nothing was printed for 0.3 seconds", ended.reason)

    async def test_one_that_never_ends_is_cancelled(self) -> None:
        self.start("spin")
        await self.until_logged("spinning")
        self.natives.cancel(Cancel(job=7, attempt=1, why="ann: enough"))
        self.natives.cancel(Cancel(job=7, attempt=1, why="twice"))
        ended = await self.ended()
        self.assertEqual(ended.result, Result.CANCELLED)
        self.assertEqual(ended.reason, "cancelled: ann: enough")
        await self.all_is_well()

    async def test_one_that_only_says_that_it_is_quick_is_interrupted_once(self) -> None:
        self.start("quick-spin")
        ended = await self.ended()
        self.assertEqual(ended.result, Result.FAILURE)
        self.assertIn("says that it is quick", ended.reason)
        # From now on it has a process, and stalls nobody.
        self.start("quick-spin", 8)
        self.assertIn("accepted 8", self.mouth.said)
        await self.until_logged("spinning", 8)
        self.natives.cancel(Cancel(job=8, attempt=1, why=""))
        self.assertEqual((await self.ended(8)).result, Result.CANCELLED)

    async def test_one_that_waits_though_it_is_quick_is_interrupted_too(self) -> None:
        self.patch(quick_module, "WAIT_LIMIT", 0.3)
        ended = await self.ran("quick-sleep")
        self.assertEqual(ended.result, Result.FAILURE)
        self.assertIn("says that it is quick", ended.reason)
        self.assertEqual((await self.ran("quick-echo")).result, Result.SUCCESS)

    async def test_a_process_that_exits_has_failed_whatever_its_status(self) -> None:
        for status in (0, 3):
            ended = await self.ran("exit-hard", status=status)
            self.assertEqual((ended.result, ended.exit_status), (Result.FAILURE, status))
            self.assertIn(f"ended with exit status {status} before", ended.reason)
            self.assertIn("bye\n", self.log())

    async def test_a_process_that_a_signal_ends_is_an_error(self) -> None:
        for performs, number in (("crash", "SIGSEGV"), ("kill-itself", "SIGKILL")):
            ended = await self.ran(performs)
            self.assertEqual(ended.result, Result.ERROR)
            self.assertIn(f"ended by {number}", ended.reason)
            self.assertEqual(ended.exit_status, -getattr(signal, number))
        await self.all_is_well()

    async def test_one_that_kills_its_runner_is_an_error(self) -> None:
        ended = await self.ran("kill-runner")
        self.assertEqual(ended.result, Result.ERROR)
        self.assertIn("watched over it on its worker was killed", ended.reason)
        await self.all_is_well()

    async def test_one_that_stops_its_runner_is_cancelled_all_the_same(self) -> None:
        self.patch(runners_module, "STOP_LIMIT", 0.2)
        gate = folder(self) / "gate"
        self.start("stop-runner", gate=str(gate))
        while not gate.exists():
            await _turn()
        self.natives.cancel(Cancel(job=7, attempt=1, why="enough"))
        ended = await self.ended()
        self.assertEqual(
            (ended.result, ended.reason), (Result.CANCELLED, "cancelled: enough")
        )
        await self.all_is_well()

    async def test_one_that_closes_all_descriptors_cannot_say_what_it_returns(self) -> None:
        ended = await self.ran("close-all")
        self.assertEqual(ended.result, Result.FAILURE)
        self.assertIn("before it returned", ended.reason)
        await self.all_is_well()

    async def test_one_that_writes_nonsense_for_an_outcome_has_failed(self) -> None:
        ended = await self.ran("write-everywhere")
        self.assertEqual(ended.result, Result.FAILURE)
        await self.all_is_well()

    async def test_much_output_is_kept_in_order_and_too_much_is_a_failure(self) -> None:
        for performs in ("print-much", "quick-print-much"):
            ended = await self.ran(performs, bytes=5_000_000)
            self.assertEqual(ended.result, Result.SUCCESS)
            self.assertEqual(len(self.log()), 5_000_000)
            self.session()
            ended = await self.ran(performs, bytes=10_000_000)
            self.assertEqual(ended.result, Result.FAILURE)
            self.assertIn(f"longer than the {LOG_LIMIT} bytes", ended.reason)
            self.assertEqual(len(self.log()), LOG_LIMIT)
            self.session()
        await self.all_is_well()

    async def test_a_thread_that_goes_on_ends_with_the_job(self) -> None:
        self.assertEqual((await self.ran("thread")).result, Result.SUCCESS)

    async def test_no_daemon_outlives_its_job(self) -> None:
        ended = await self.ran("leave-daemon", mark=self.mark)
        self.assertEqual(ended.result, Result.SUCCESS)
        # Not even for a moment: it is gone before the end is told.
        self.assertEqual(self.sleepers(), [])

    async def test_nor_one_of_a_job_that_is_stopped_or_forgotten(self) -> None:
        self.start("daemon-and-wait", mark=self.mark)
        await self.until_logged("left")
        await self.until_asleep(2)
        self.natives.cancel(Cancel(job=7, attempt=1, why=""))
        await self.ended()
        self.assertEqual(self.sleepers(), [])
        self.start("daemon-and-wait", 8, mark=self.mark)
        await self.until_logged("left", 8)
        self.natives.forget(Forget(job=8, attempt=1))
        self.assertEqual(self.natives.holding(), ())
        await self.until_nobody_sleeps()
        self.assertNotIn("end 8", self.mouth.said)

    async def test_nor_one_of_a_job_that_killed_its_runner(self) -> None:
        ended = await self.ran("daemon-and-kill-runner", mark=self.mark)
        self.assertEqual(ended.result, Result.ERROR)
        await self.until_nobody_sleeps()

    async def test_nor_one_when_the_hatchery_is_killed(self) -> None:
        seen = (await self.ran("process")).output
        assert seen is not None
        self.start("daemon-and-wait", 8, mark=self.mark)
        await self.until_logged("left", 8)
        os.kill(seen["hatchery"], signal.SIGKILL)
        ended = await self.ended(8)
        self.assertEqual(ended.result, Result.ERROR)
        await self.until_nobody_sleeps()
        await self.all_is_well()

    async def test_a_family_that_forks_all_the_time_is_ended(self) -> None:
        self.start("fork-bomb")
        await self.until_logged("left")
        await self.ended()
        await self.all_is_well()

    async def test_when_the_daemon_stops_its_jobs_are_errors_and_leave_nobody(self) -> None:
        seen = (await self.ran("process")).output
        assert seen is not None
        self.start("daemon-and-wait", 8, mark=self.mark)
        await self.until_logged("left", 8)
        await self.natives.stop("its worker was stopped")
        ended = await self.ended(8)
        self.assertEqual(
            (ended.result, ended.reason), (Result.ERROR, "its worker was stopped")
        )
        self.assertEqual(self.sleepers(), [])
        await self.until_gone(seen["runner"], seen["hatchery"])


class SessionTests(NativesTestCase):
    """What waits for a master, and what a master no longer wants."""

    async def test_what_happens_without_a_master_is_told_to_the_next(self) -> None:
        gate = folder(self) / "gate"
        self.start("wait", 1, gate=str(gate))
        await self.until_logged("waiting", 1)
        self.start("noop", 2)
        self.natives.suspend()
        gate.touch()
        while any(held.lives for held in self.natives.holding()):
            await _turn()
        self.assertEqual(
            set(self.natives.holding()),
            {Holding(job=job, attempt=1, lives=False) for job in (1, 2)},
        )
        self.session(recorded={1: 1})
        self.assertEqual([(r.job, r.number) for r in self.mouth.reports], [(1, 2), (2, 1)])
        for job in (1, 2):
            self.assertEqual((await self.ended(job)).result, Result.SUCCESS)

    async def test_what_the_master_has_in_full_is_not_told_again(self) -> None:
        self.start("noop")
        self.session(recorded={7: 1})
        self.assertEqual((self.mouth.said, self.natives.holding()), ([], ()))

    async def test_what_the_next_master_does_not_want_is_killed(self) -> None:
        self.start("daemon-and-wait", mark=self.mark)
        await self.until_logged("left")
        self.start("noop", 8)
        self.session(forget=(7, 8))
        self.assertEqual(self.natives.holding(), ())
        await self.until_nobody_sleeps()
        self.assertEqual(self.mouth.said, [])

    async def test_a_master_that_wants_more_than_is_kept_is_left(self) -> None:
        gate = folder(self) / "gate"
        self.start("wait", gate=str(gate))
        await self.until_logged("waiting")
        self.natives.settle(Recorded(job=7, attempt=1, number=1))
        for recorded in (0, 5):
            self.session(recorded={7: recorded})
            if recorded == 0:
                self.assertIn("give up: this worker lost job 7", self.mouth.said[0])
                self.assertEqual(self.natives.holding(), ())

    async def test_a_line_without_room_gets_nothing_until_there_is_some(self) -> None:
        self.mouth.room = 1
        for job in (1, 2, 3):
            self.start("noop", job)
        self.assertEqual([r.job for r in self.mouth.reports], [1])
        self.mouth.room = 2
        self.natives.settle(Recorded(job=1, attempt=1, number=1))
        self.assertEqual(len(self.mouth.reports), 2)
        self.mouth.room = 9
        self.natives.feed()
        self.assertEqual(sorted(r.job for r in self.mouth.reports), [1, 2, 3])
        for job in (2, 3):
            await self.ended(job)

    async def test_a_lease_that_nobody_renews_ends_the_job(self) -> None:
        self.patch(natives_module, "LOOK", 0.01)
        self.start("spin", fence_after=270.0)
        self.now += 269
        self.natives.renew()
        self.now += 269
        await self.until_logged("spinning")
        self.assertEqual(self.natives.holding(), (Holding(job=7, attempt=1, lives=True),))
        self.natives.suspend()
        self.now += 1
        while any(held.lives for held in self.natives.holding()):
            await _turn()
        self.session()
        ended = await self.ended()
        self.assertEqual(ended.result, Result.ERROR)
        self.assertIn("for 270 seconds no master renewed the lease", ended.reason)


SHOW = "import sys; print(sys.stdin.read().strip())"


class CommandTests(NativesTestCase):
    commands = {
        "show": ("python3", "-c", SHOW),
        "silent": ("true",),
        "talk-only": ("sh", "-c", "echo out; echo err >&2; echo last"),
        "both": ("sh", "-c", "echo on the way; echo '{\"x\": 1}'; echo; echo ' '"),
        "no-newline": ("sh", "-c", "printf '{\"x\": 2}'"),
        "no-json": ("sh", "-c", "echo '{x: 1}'"),
        "long": ("sh", "-c", 'echo "{\\"x\\": \\"$(seq 20000)\\"}" | tr \'\\n\' \' \''),
        "fail": ("sh", "-c", "echo '{\"x\": 1}'; exit 3"),
        "killed": ("sh", "-c", "kill -9 $$"),
        "missing": ("/no/such/program",),
        "session": ("sh", "-c", "cut -d ' ' -f 1,6 /proc/$$/stat; exec sleep 1000"),
        "sleeper": ("sh", "-c", "read m; sleep $(echo $m | tr -dc 0-9) & echo left; wait"),
    }

    async def test_arguments_come_on_standard_input_and_the_last_line_is_the_output(
        self,
    ) -> None:
        several: list[dict[str, Any]] = [{}, {"x": "ä" * 10}, {"x": "y" * 60_000}]
        for arguments in several:
            ended = await self.ran("show", **arguments)
            self.assertEqual((ended.result, ended.output), (Result.SUCCESS, arguments))
            self.assertEqual(ended.exit_status, 0)

    async def test_what_is_no_object_is_only_log(self) -> None:
        ended = await self.ran("talk-only")
        self.assertEqual((ended.result, ended.output), (Result.SUCCESS, None))
        self.assertEqual(sorted(self.log().split()), ["err", "last", "out"])

    async def test_blank_lines_and_a_missing_newline_do_not_matter(self) -> None:
        self.assertEqual((await self.ran("both")).output, {"x": 1})
        self.assertIn("on the way\n", self.log())
        self.assertEqual((await self.ran("no-newline")).output, {"x": 2})
        self.assertEqual((await self.ran("silent")).output, None)

    async def test_what_only_begins_like_an_object_is_a_failure(self) -> None:
        ended = await self.ran("no-json")
        self.assertEqual(ended.result, Result.FAILURE)
        self.assertIn("the last line it printed is not a JSON object", ended.reason)
        ended = await self.ran("long")
        self.assertEqual(ended.result, Result.FAILURE)
        self.assertIn("more than the 65536 bytes", ended.reason)

    async def test_its_exit_status_decides(self) -> None:
        ended = await self.ran("fail")
        self.assertEqual((ended.result, ended.exit_status), (Result.FAILURE, 3))
        self.assertEqual((ended.reason, ended.output), ("it exited with status 3", None))

    async def test_a_signal_is_an_error(self) -> None:
        ended = await self.ran("killed")
        self.assertEqual((ended.result, ended.exit_status), (Result.ERROR, -9))
        self.assertIn("SIGKILL", ended.reason)

    async def test_one_that_cannot_be_started_is_the_operators_to_mend(self) -> None:
        ended = await self.ran("missing")
        self.assertEqual(ended.result, Result.ERROR)
        self.assertIn("native_commands", ended.reason)

    async def test_it_has_a_session_of_its_own_and_can_be_cancelled(self) -> None:
        self.start("session")
        await self.until_logged("\n")
        pid, session = self.log().split()
        self.assertEqual(pid, session)
        self.natives.cancel(Cancel(job=7, attempt=1, why=""))
        await self.ended()
        await self.until_gone(int(pid))

    async def test_what_it_started_does_not_outlive_it(self) -> None:
        self.start("sleeper", mark=self.mark)
        await self.until_logged("left")
        await self.until_asleep(1)
        self.natives.cancel(Cancel(job=7, attempt=1, why=""))
        await self.ended()
        self.assertEqual(self.sleepers(), [])

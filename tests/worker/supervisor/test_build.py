"""Whole attempts in the native environment, under real supervisor processes."""

from __future__ import annotations

import contextlib
import os
import shutil
from pathlib import Path
from unittest import SkipTest
from uuid import uuid4

from twisted.trial.unittest import SynchronousTestCase

from protocol.messages import LogChunk, PipelineJobStarted
from protocol.order import Limits
from protocol.pipeline.model import PackageRepository, Snap
from protocol.results import Result
from tests.requirements import require
from tests.worker.supervisor.attempts import folder, job, order, passed, repository, run


def running(mark: str) -> list[bytes]:
    """Command lines, of this machine's processes, in which ``mark`` stands."""
    found = []
    for process in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            line = process.read_bytes()
            if mark.encode() in line:
                found.append(line)
    return found


class BuildTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.source = repository(self, {"greeting": "hello there\n"})

    def test_a_job_runs_in_a_copy_of_the_project_and_its_output_is_the_log(self) -> None:
        told = run(self, order(self.source, [[("unit", job("cat greeting"))]]))
        passed(self, told)
        self.assertIn("\nhello there\n", told.log("unit"))
        self.assertEqual(told.jobs["unit:0"].exit_status, 0)

    def test_no_secret_of_the_worker_stands_in_the_log_whoever_prints_it(self) -> None:
        secrets = folder(self) / "secrets.yaml"
        secrets.touch(0o600)
        secrets.write_text("one: of-the-first-kind\n")
        printing = job(f"cat {secrets}; printf of-the-; sleep 0.3; echo first-kind")
        asked = order(self.source, [[("unit", printing)]])
        told = run(self, asked, secrets_file=str(secrets))
        passed(self, told)
        self.assertIn("one: ***\n***\n", told.log("unit"))
        self.assertNotIn("of-the-first-kind", told.log("unit"))

    def test_code_that_is_not_trusted_never_runs_natively(self) -> None:
        source = repository(self, {"greeting": "hello"})
        asked = order(source, [[("unit", job("echo ran"))]], trusted=False)
        told = run(self, asked)
        self.assertEqual(told.results, {"unit:0": "error"})
        self.assertIn("not trusted", told.jobs["unit:0"].reason)
        self.assertTrue(told.end.final)

    def test_log_chunks_follow_each_other_without_gaps(self) -> None:
        many = job("seq 1 200000; echo done >&2")
        told = run(self, order(self.source, [[("unit", many)]]))
        place = 0
        for chunk in told.of(LogChunk):
            self.assertEqual(chunk.start, place)
            place += chunk.length
        self.assertEqual(place, len(told.log()))
        self.assertIn("\n".join(str(number) for number in range(1, 200001)), told.log())
        self.assertIn("\ndone\n", told.log())

    def test_the_commands_run_in_order_and_the_first_failure_is_the_end(self) -> None:
        failing = job("echo two; exit 3", run_before="echo one", run_after="echo three")
        told = run(self, order(self.source, [[("unit", failing)]]))
        self.assertIn("\none\n", told.log())
        self.assertIn("\ntwo\n", told.log())
        self.assertNotIn("\nthree\n", told.log())
        ended = told.jobs["unit:0"]
        self.assertEqual((ended.result, ended.exit_status), (Result.FAILURE, 3))
        self.assertEqual(ended.reason, "`run` ended with exit status 3")
        self.assertEqual(told.end.result, Result.FAILURE)
        self.assertEqual(told.end.reason, "unit:0 failed (exit status 3)")

    def test_a_command_ends_at_its_first_failing_line(self) -> None:
        told = run(self, order(self.source, [[("unit", job("false\necho not reached"))]]))
        self.assertNotIn("\nnot reached", told.log())
        self.assertEqual(told.end.result, Result.FAILURE)

    def test_commands_share_no_shell_but_a_folder(self) -> None:
        one = job('test -z "$x" && test -f made', run_before="x=1; touch made")
        passed(self, run(self, order(self.source, [[("unit", one)]])))

    def test_each_job_gets_a_fresh_copy_of_the_project(self) -> None:
        first = job("echo changed > greeting; touch new")
        second = job("cat greeting; test ! -e new")
        told = run(self, order(self.source, [[("one", first), ("two", second)]]))
        passed(self, told)
        self.assertIn("\nhello there\n", told.log("two"))

    def test_a_signal_that_kills_a_command_is_told_as_a_shell_does(self) -> None:
        told = run(self, order(self.source, [[("unit", job("kill -KILL $$"))]]))
        self.assertEqual(told.jobs["unit:0"].exit_status, 137)
        self.assertIn("signal 9", told.jobs["unit:0"].reason)

    def test_variables_come_from_the_job_and_the_operator_has_the_last_word(self) -> None:
        asks = job(
            'echo "$one,$two,$three,${LANG-gone}"',
            environment={"two": "j", "three": None, "one": "j", "LANG": None},
        )
        told = run(
            self,
            order(self.source, [[("unit", asks)]]),
            environment={"one": "o", "three": "o"},
        )
        self.assertIn("\no,j,o,gone\n", told.log())

    def test_nothing_of_the_supervisors_own_environment_reaches_a_job(self) -> None:
        os.environ["HEADRACE_SECRET_FOR_TEST"] = "secret"
        self.addCleanup(os.environ.pop, "HEADRACE_SECRET_FOR_TEST")
        told = run(self, order(self.source, [[("unit", job("env"))]]))
        self.assertNotIn("secret", told.log())

    def test_a_background_process_neither_hangs_the_job_nor_outlives_it(self) -> None:
        mark = f"{uuid4().int % 10**9 + 10**6}"
        leaves = job(f"(sleep {mark}; echo late) & setsid sleep {mark} & echo here")
        told = run(self, order(self.source, [[("unit", leaves)]]))
        passed(self, told)
        self.assertIn("\nhere\n", told.log())
        self.assertEqual(running(mark), [])

    def test_a_service_that_run_before_starts_lives_until_the_job_ends(self) -> None:
        one = job(
            'kill -0 "$(cat pid)"', run_before="sleep 1000 >/dev/null 2>&1 & echo $! > pid"
        )
        passed(self, run(self, order(self.source, [[("unit", one)]])))

    def test_a_job_without_run_is_malformed(self) -> None:
        told = run(self, order(self.source, [[("unit", job(None))]]))
        self.assertEqual(told.results, {"unit:0": "malformed"})
        self.assertIn("unit:0 does not set `run`", told.jobs["unit:0"].reason)

    def test_snaps_are_refused_before_anything_of_the_job_runs(self) -> None:
        wants = job("echo ran", snaps=(Snap(name="chromium"),))
        told = run(self, order(self.source, [[("unit", wants)]]))
        self.assertEqual(told.results, {"unit:0": "malformed"})
        self.assertIn("`snaps` of unit:0 asks for chromium", told.jobs["unit:0"].reason)
        self.assertNotIn("\nran\n", told.log())

    def test_an_ordinary_users_worker_runs_root_and_not_root_alike(self) -> None:
        if os.geteuid() == 0:
            raise SkipTest("this is about workers of ordinary users")
        told = run(self, order(self.source, [[("unit", job("id -un", root=False))]]))
        passed(self, told)
        self.assertIn("-- root: this worker runs as an ordinary user", told.log())

    def test_a_worker_that_is_root_cannot_be_somebody_else_in_a_closed_folder(self) -> None:
        require(self, os.geteuid() == 0, "this is about workers that run as root")
        told = run(self, order(self.source, [[("unit", job("id -un", root=False))]]))
        self.assertEqual(told.results, {"unit:0": "error"})
        self.assertIn("`root: false` of unit:0 is not possible", told.end.reason)

    def test_repositories_have_no_effect_where_nothing_is_installed(self) -> None:
        require(self, shutil.which("dpkg-query") is not None, "this is about Debian")
        ppa = PackageRepository(
            type="apt",
            ppa="ann/tools",
            url="http://127.0.0.1:1",
            components=("main",),
            formats=("deb",),
            suites=("jammy",),
        )
        wants = job("true", packages=("dpkg",), package_repositories=(ppa,))
        told = run(self, order(self.source, [[("unit", wants)]]))
        passed(self, told)
        self.assertIn("-- package-repositories: no effect", told.log())

    def test_packages_that_this_machine_lacks_are_refused_natively(self) -> None:
        wants = job("echo ran", packages=("no-such-package-1",))
        told = run(self, order(self.source, [[("unit", wants)]]))
        self.assertEqual(told.results, {"unit:0": "malformed"})
        self.assertIn("no-such-package-1", told.jobs["unit:0"].reason)

    def test_a_log_may_not_grow_without_end(self) -> None:
        told = run(self, order(self.source, [[("unit", job("yes"))]]), log_limit=300_000)
        self.assertEqual(told.results, {"unit:0": "failure"})
        self.assertIn("300000 bytes", told.jobs["unit:0"].reason)
        self.assertLess(len(told.log()), 301_000)

    def test_an_order_that_makes_no_sense_is_malformed_and_tells_every_job(self) -> None:
        asked = order(
            self.source, [[("unit", job("true"))]], stages=((("unit", 0), ("gone", 1)),)
        )
        told = run(self, asked)
        self.assertEqual(told.results, {"unit:0": "unrun", "gone:1": "unrun"})
        self.assertEqual(told.end.result, Result.MALFORMED)
        self.assertIn("no job gone:1", told.end.reason)


class LimitTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.source = repository(self, {})

    def test_a_job_that_is_silent_for_too_long_times_out(self) -> None:
        stages = [[("unit", job("echo begun; sleep 1000"))], [("pack", job("true"))]]
        told = run(self, order(self.source, stages, limits=Limits(idle=0.3)))
        self.assertEqual(told.results, {"unit:0": "timeout", "pack:0": "unrun"})
        self.assertEqual(told.end.result, Result.TIMEOUT)
        self.assertIn("nothing was printed for 0.3 seconds", told.end.reason)
        self.assertIn("\nbegun\n", told.log())

    def test_an_attempt_that_takes_too_long_times_out(self) -> None:
        chatty = job("while true; do echo; sleep 0.1; done")
        told = run(
            self, order(self.source, [[("unit", chatty)]], limits=Limits(run=0.8, idle=5))
        )
        self.assertEqual(told.results, {"unit:0": "timeout"})
        self.assertIn("longer than the 0.8 s", told.end.reason)

    def test_a_command_that_ignores_term_is_killed_all_the_same(self) -> None:
        stubborn = job("trap '' TERM; echo ready; while true; do sleep 1000; done")
        told = run(
            self, order(self.source, [[("unit", stubborn)]], limits=Limits(idle=0.3))
        )
        self.assertEqual(told.results, {"unit:0": "timeout"})

    def test_what_a_command_says_when_it_is_stopped_is_in_the_log(self) -> None:
        polite = job("trap 'echo bye; exit 1' TERM; echo ready; sleep 1000 & wait")
        told = run(self, order(self.source, [[("unit", polite)]], limits=Limits(idle=0.3)))
        self.assertIn("\nbye\n", told.log())

    def test_without_a_renewal_the_lease_ends_the_build(self) -> None:
        asked = order(self.source, [[("unit", job("sleep 1000"))]], fence_after=0.7)
        told = run(self, asked)
        self.assertEqual(told.results, {"unit:0": "error"})
        self.assertEqual(told.end.result, Result.ERROR)
        self.assertIn("no master renewed the lease", told.end.reason)
        self.assertEqual(len(told.of(PipelineJobStarted)), 1)

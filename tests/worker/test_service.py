"""The whole daemon, in a process of its own, with real supervisors and a fake master."""

from __future__ import annotations

import os
import shlex
import signal
from pathlib import Path

from twisted.internet.defer import DeferredList
from twisted.trial.unittest import TestCase

from protocol.messages import Accepted, Attempt, Goodbye, Report
from protocol.order import Order
from protocol.results import Result
from tests.worker.daemons import WorkerHome
from tests.worker.fake_master import FakeMaster
from tests.worker.supervisor.attempts import folder, job, order, repository
from worker.delivery import WINDOW_REPORTS
from worker.supervisor import attach
from worker.supervisor.spool import SpoolReader

#: A job that goes on when the file ``go`` is there.
#: The quotes keep what it says apart from the command itself, which the log shows, too.
WAITS = "echo b'egun'; while ! test -e {go}; do sleep 0.05; done; echo f'inished'"
LINES = "for n in $(seq 20000); do echo line $n of the log; done"


class DaemonTests(TestCase):
    timeout = 60

    async def farm(self, **settings: object) -> FakeMaster:
        """A master that a new worker, ``self.home``, has joined."""
        master = FakeMaster(self)
        await master.listen()
        self.home = WorkerHome(self, master.port, **settings)
        daemon = self.home.start()
        # Whichever comes first: one that cannot start would be waited for in vain.
        joined = master.until(lambda: master.sessions and master.session.hello)
        await DeferredList([joined, daemon.gone()], fireOnOneCallback=True)
        self.assertIsNone(daemon.status, daemon.said)
        return master

    async def until_removed(self, master: FakeMaster, key: Attempt) -> None:
        """The worker neither names the attempt nor has anything of it."""
        await master.until_let_go(key)
        while (self.home.builds / f"{key.job}-{key.attempt}").exists():
            await master.until_let_go(key)

    def waiting_order(self, **changes: object) -> tuple[Order, Path]:
        """An order whose one job waits for a file."""
        go = folder(self) / "go"
        source = repository(self, {"file": "content"})
        run = job(WAITS.format(go=shlex.quote(str(go))))
        return order(source, [[("wait", run)]], **changes), go

    async def test_runs_an_order_and_leaves_nothing_of_it(self) -> None:
        master = await self.farm()
        source = repository(self, {"file": "the content\n"})
        key = master.start(order(source, [[("show", job("cat file"))]]))
        ran = await master.until_ended(key)
        self.assertEqual((ran.end.result, ran.end.reason), (Result.SUCCESS, ""))
        self.assertIn("the content\n", ran.log("show"))
        await self.until_removed(master, key)

    async def test_says_what_it_is_and_what_it_offers(self) -> None:
        master = await self.farm(tags=["fast"], slots=3)
        hello = master.session.hello
        assert hello is not None
        self.assertEqual((hello.worker, hello.token), ("ant", "a-secret-token"))
        self.assertEqual((hello.slots, hello.tags, hello.holding), (3, ("fast",), ()))
        self.assertEqual([o.isolation for o in hello.offers], ["native"])
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        self.assertEqual(hello.boot, boot)

    async def test_a_killed_daemon_finds_its_build_again(self) -> None:
        master = await self.farm()
        asked, go = self.waiting_order()
        key = master.start(asked)
        await master.until_log(key, "begun")
        self.home.daemons[0].signal(signal.SIGKILL)
        await master.until(lambda: master.session.ended)
        self.assertTrue(attach.is_alive(self.home.builds / "7-2"))
        go.touch()  # what it says now is said while there is no daemon
        self.home.start()
        session = await master.until_joined(2)
        assert session.hello is not None
        self.assertEqual([(h.job, h.attempt) for h in session.hello.holding], [(7, 2)])
        ran = await master.until_ended(key)
        self.assertEqual(ran.end.result, Result.SUCCESS)
        self.assertEqual(ran.log("wait").count("begun"), 1)
        self.assertEqual(ran.log("wait").count("finished"), 1)

    async def test_a_line_that_drops_in_the_middle_of_a_log_loses_no_byte(self) -> None:
        master = await self.farm()
        source = repository(self, {"file": "x"})
        key = master.start(order(source, [[("talk", job(LINES))]]))
        for sessions in (2, 3):
            await master.until_more(key, 2)
            line = master.session.line
            assert line is not None
            line._broker.transport.abortConnection()  # type: ignore[attr-defined]
            await master.until_joined(sessions)
        ran = await master.until_ended(key)
        self.assertEqual(ran.end.result, Result.SUCCESS)
        log = ran.log("talk")
        expected = "".join(f"line {n} of the log\n" for n in range(1, 20001))
        self.assertTrue(expected in log, f"{log.count('of the log')} lines of 20000")

    async def test_a_master_that_records_nothing_gets_no_more_than_the_window(self) -> None:
        master = await self.farm()
        master.deaf = True
        stage = [("many", job("true")) for _ in range(30)]
        key = master.start(order(repository(self, {"file": "x"}), [stage]))
        await master.until_accepted(key)
        reader = SpoolReader(self.home.builds / "7-2")
        self.addCleanup(reader.close)
        while not reader.ended:
            await master.until_beat()
        self.assertGreater(reader.last_number, WINDOW_REPORTS)
        await master.until_beat()
        self.assertEqual(len(master.session.of(Report)), WINDOW_REPORTS)
        # Another session begins where the master stands: with the first report.
        master.deaf = False
        assert master.session.line is not None
        master.session.line.close()
        ran = await master.until_ended(key)
        self.assertEqual(ran.end.result, Result.SUCCESS)
        self.assertEqual(len(ran.jobs), 30)

    async def test_a_forgotten_build_is_killed_and_removed(self) -> None:
        master = await self.farm()
        asked, _ = self.waiting_order()
        key = master.start(asked)
        await master.until_log(key, "begun")
        pid = attach.supervisor_pid(self.home.builds / "7-2")
        master.forget(key)
        await master.until_let_go(key)
        await self.home.daemons[0].until_said(b"no longer counts")
        await self.until_removed(master, key)
        self.assertFalse(_lives(pid))

    async def test_a_build_that_was_given_away_meanwhile_is_forgotten(self) -> None:
        master = await self.farm()
        asked, _ = self.waiting_order()
        key = master.start(asked)
        await master.until_log(key, "begun")
        self.home.daemons[0].signal(signal.SIGKILL)
        await master.until(lambda: master.session.ended)
        master.current.discard(key)
        self.home.start()
        await master.until_joined(2)
        await self.until_removed(master, key)

    async def test_a_cancelled_build_ends_as_cancelled(self) -> None:
        master = await self.farm()
        asked, _ = self.waiting_order()
        key = master.start(asked)
        await master.until_log(key, "begun")
        master.cancel(key, "Ann changed her mind")
        ran = await master.until_ended(key)
        self.assertEqual(ran.end.result, Result.CANCELLED)
        self.assertIn("Ann changed her mind", ran.end.reason)

    async def test_a_cancel_right_behind_the_start_counts(self) -> None:
        master = await self.farm()
        asked, _ = self.waiting_order()
        key = master.start(asked)
        master.cancel(key, "at once")
        ran = await master.until_ended(key)
        self.assertEqual(ran.end.result, Result.CANCELLED)

    async def test_a_forget_right_behind_the_start_leaves_nothing(self) -> None:
        master = await self.farm()
        asked, _ = self.waiting_order()
        key = master.start(asked)
        master.forget(key)
        await self.until_removed(master, key)
        self.assertEqual(master.session.of(Accepted), [])

    async def test_a_supervisor_that_dies_is_reported_at_once(self) -> None:
        master = await self.farm()
        asked, _ = self.waiting_order()
        key = master.start(asked)
        await master.until_log(key, "begun")
        pid = attach.supervisor_pid(self.home.builds / "7-2")
        assert pid is not None
        os.kill(pid, signal.SIGKILL)
        ran = await master.until_ended(key)
        self.assertEqual(ran.end.result, Result.ERROR)
        self.assertIn("process that watched over this build", ran.end.reason)
        self.assertEqual(ran.results, {"wait:0": "error"})

    async def test_one_that_died_while_no_daemon_looked_is_reported_by_the_next(
        self,
    ) -> None:
        master = await self.farm()
        asked, _ = self.waiting_order()
        key = master.start(asked)
        await master.until_log(key, "begun")
        pid = attach.supervisor_pid(self.home.builds / "7-2")
        assert pid is not None
        self.home.daemons[0].signal(signal.SIGKILL)
        await self.home.daemons[0].gone()
        os.kill(pid, signal.SIGKILL)
        self.home.start()
        session = await master.until_joined(2)
        ran = await master.until_ended(key)
        self.assertEqual(ran.end.result, Result.ERROR)
        assert session.hello is not None
        self.assertEqual([h.lives for h in session.hello.holding], [False])

    async def test_the_lease_is_renewed_as_long_as_the_master_answers(self) -> None:
        master = await self.farm()
        asked, go = self.waiting_order(fence_after=1.0)
        key = master.start(asked)
        await master.until_log(key, "begun")
        beats = len(master.session.heard)
        await master.until(lambda: len(master.session.heard) > beats + 8)  # 1.6 s
        go.touch()
        ran = await master.until_ended(key)
        self.assertEqual(ran.end.result, Result.SUCCESS)

    async def test_a_lease_that_no_master_renews_ends_the_build(self) -> None:
        master = await self.farm()
        asked, _ = self.waiting_order(fence_after=0.7)
        master.mute = True
        key = master.start(asked)
        ran = await master.until_ended(key)
        self.assertEqual(ran.end.result, Result.ERROR)
        self.assertIn("renewed the lease", ran.end.reason)

    async def test_a_full_disk_refuses_with_a_sentence(self) -> None:
        master = await self.farm(free_bytes=2**60)
        asked, _ = self.waiting_order()
        why = await master.until_refused(master.start(asked))
        self.assertIn("the worker's disk is full", why)
        self.assertIn(str(self.home.builds), why)
        self.assertEqual(list(self.home.builds.iterdir()), [])

    async def test_more_than_its_slots_is_refused(self) -> None:
        master = await self.farm(slots=1)
        first, _ = self.waiting_order()
        second, _ = self.waiting_order(job=8)
        await master.until_accepted(master.start(first))
        why = await master.until_refused(master.start(second))
        self.assertEqual(why, "all 1 slots of this worker are taken")

    async def test_an_isolation_that_was_not_offered_is_refused(self) -> None:
        master = await self.farm()
        asked, _ = self.waiting_order(isolation="chroot")
        why = await master.until_refused(master.start(asked))
        self.assertIn("makes no chroot environment for jammy", why)

    async def test_a_wrong_token_is_asked_about_slowly_and_told_to_the_operator(
        self,
    ) -> None:
        master = FakeMaster(self)
        master.turn_away = Goodbye(reason="no such worker with that token", retry=False)
        await master.listen()
        self.home = WorkerHome(self, master.port)
        daemon = self.home.start()
        await daemon.until_said(b"asking again every 60 seconds")
        self.assertIn(b"no such worker with that token", daemon.said)
        self.assertNotIn(b"a-secret-token", daemon.said)
        self.assertEqual(len(master.sessions), 1)

    async def test_goes_to_the_next_master_when_one_dies(self) -> None:
        first, second = FakeMaster(self), FakeMaster(self)
        await first.listen()
        await second.listen()
        self.home = WorkerHome(self, first.port, second.port)
        self.home.start()
        await first.until_joined()
        asked, go = self.waiting_order()
        key = first.start(asked)
        await first.until_log(key, "begun")
        # They share a database.
        second.current, second.reports = first.current, first.reports
        await first.close()
        session = await second.until_joined()
        assert session.hello is not None
        self.assertEqual([h.job for h in session.hello.holding], [7])
        go.touch()
        ran = await second.until_ended(key)
        self.assertEqual(ran.end.result, Result.SUCCESS)

    async def test_waits_for_a_master_that_is_not_there_yet(self) -> None:
        master = FakeMaster(self)
        await master.listen()
        port = master.port
        await master.close()
        self.home = WorkerHome(self, port)
        daemon = self.home.start()
        await daemon.until_said(b"no session with pb://127.0.0.1:%d yet" % port)
        await master.listen(port)
        await master.until_joined()

    async def test_sigterm_leaves_builds_if_so_set(self) -> None:
        master = await self.farm()
        asked, go = self.waiting_order()
        key = master.start(asked)
        await master.until_log(key, "begun")
        self.home.daemons[0].signal(signal.SIGTERM)
        await self.home.daemons[0].gone()
        self.assertEqual(self.home.daemons[0].status, -signal.SIGTERM)
        self.assertTrue(attach.is_alive(self.home.builds / "7-2"))
        self.home.start()
        await master.until_joined(2)
        go.touch()
        ran = await master.until_ended(key)
        self.assertEqual(ran.end.result, Result.SUCCESS)

    async def test_sigterm_cancels_builds_if_so_set_and_says_so_to_the_master(self) -> None:
        master = await self.farm(on_stop="kill")
        asked, _ = self.waiting_order()
        key = master.start(asked)
        await master.until_log(key, "begun")
        pid = attach.supervisor_pid(self.home.builds / "7-2")
        self.home.daemons[0].signal(signal.SIGTERM)
        await self.home.daemons[0].gone()
        ran = master.told(key)
        self.assertEqual(ran.end.result, Result.CANCELLED)
        self.assertIn("its worker was stopped", ran.end.reason)
        self.assertFalse(_lives(pid))

    async def test_a_second_daemon_in_the_same_folder_is_refused(self) -> None:
        await self.farm()
        pid_file = self.home.folder / "worker.pid"
        self.assertEqual(pid_file.read_text(), f"{self.home.daemons[0].pid}\n")
        second = self.home.start()
        await second.gone()
        self.assertEqual(second.status, 1)
        self.assertEqual(
            second.said.decode().splitlines()[-1],
            f"buildworker cannot start: worker process {self.home.daemons[0].pid} works "
            f"in {self.home.folder} already; stop it, or give this one a data folder of "
            "its own",
        )

    async def test_wrong_settings_end_in_one_sentence(self) -> None:
        self.home = WorkerHome(self, 8011, slot=3)
        daemon = self.home.start()
        await daemon.gone()
        self.assertEqual(daemon.status, 1)
        [sentence] = daemon.said.decode().splitlines()
        self.assertIn("there is no key 'slot'; did you mean slots?", sentence)

    async def test_a_secrets_file_that_others_can_read_ends_in_one_sentence(self) -> None:
        self.home = WorkerHome(self, 8011, secrets_file="secrets.yaml")
        secrets = self.home.folder / "secrets.yaml"
        secrets.write_text("token: hush")
        secrets.chmod(0o644)
        daemon = self.home.start()
        await daemon.gone()
        self.assertEqual(daemon.status, 1)
        [sentence] = daemon.said.decode().splitlines()
        self.assertIn(f"secrets_file: the secrets file {secrets} can be read", sentence)

    async def test_what_is_no_attempt_is_left_alone(self) -> None:
        master = FakeMaster(self)
        await master.listen()
        self.home = WorkerHome(self, master.port)
        (self.home.builds / "lost+found").mkdir(parents=True)
        (self.home.builds / "9-1").mkdir()  # an order that was never whole on the disk
        daemon = self.home.start()
        session = await master.until_joined()
        assert session.hello is not None
        self.assertEqual(session.hello.holding, ())
        await daemon.until_said(b"left alone")
        while (self.home.builds / "9-1").exists():
            await master.until_let_go(Attempt(9, 1))
        self.assertTrue((self.home.builds / "lost+found").exists())


def _lives(pid: int | None) -> bool:
    """Whether the process runs; one that nobody has waited for yet does not."""
    try:
        status = Path(f"/proc/{pid}/stat").read_text()
    except (FileNotFoundError, ProcessLookupError):
        return False
    return status.rpartition(")")[2].split()[0] not in "ZX"

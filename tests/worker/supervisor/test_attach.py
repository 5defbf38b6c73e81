"""What a worker daemon does with supervisors, done with real ones."""

from __future__ import annotations

import contextlib
import os
import select
import signal
import socket
import time
from pathlib import Path
from typing import Any
from uuid import uuid4

from twisted.trial.unittest import SynchronousTestCase

from protocol.messages import LogChunk
from protocol.order import GitSource, Order
from protocol.results import Result
from tests.worker.environments.namespaces import are_allowed
from tests.worker.supervisor.attempts import (
    HANGS,
    Told,
    begin,
    folder,
    job,
    order,
    passed,
    repository,
    told,
)
from tests.worker.supervisor.test_build import running
from worker.supervisor import attach
from worker.supervisor.control import (
    CancelAttempt,
    FromDaemon,
    Kill,
    Renew,
    Reports,
    decode_from_supervisor,
    encode_line,
)
from worker.supervisor.settings import Settings
from worker.supervisor.spool import SpoolReader


class Daemon:
    """A daemon's end of the control socket."""

    def __init__(self, place: Path) -> None:
        until = time.monotonic() + HANGS
        while True:
            try:
                self.line = attach.connect(place)
                break
            except attach.NotAttached:
                if time.monotonic() > until:
                    raise
                time.sleep(0.01)  # there is nothing to be told of a socket's birth
        self._received = b""
        self.reports = Reports(last=0, ended=False)

    def say(self, message: FromDaemon) -> None:
        self.line.send(encode_line(message))

    def hear(self) -> bool:
        """Wait for what the supervisor says next; False if it hung up."""
        if not select.select([self.line], [], [], HANGS)[0]:
            raise AssertionError("the supervisor says nothing")
        data = b""
        with contextlib.suppress(ConnectionResetError):
            data = self.line.recv(10_000)
        *lines, self._received = (self._received + data).split(b"\n")
        for line in lines:
            self.reports = decode_from_supervisor(line)
        return bool(data)

    def wait_for_log(self, place: Path, text: str) -> None:
        while text not in told(place).log():
            assert self.hear(), "the supervisor hung up"

    def close(self) -> None:
        self.line.close()


class AttachCase(SynchronousTestCase):
    def setUp(self) -> None:
        self.source = repository(self, {"greeting": "hello\n"})
        self.mark = f"{uuid4().int % 10**9 + 10**6}"

    def order(self, run: str, **changes: Any) -> Order:
        stages = [[("unit", job(run))], [("pack", job("true"))]]
        return order(self.source, stages, **changes)

    def start(self, asked: Order, **settings: Any) -> Path:
        top = folder(self)
        place = top / "7-2"
        chosen = Settings(**{"cache": str(top / "cache"), "grace": 0.5, **settings})
        attach.write_order(place, asked, chosen)
        attach.start(place)
        self.addCleanup(self.clear, place)
        return place

    def clear(self, place: Path) -> None:
        pid = attach.supervisor_pid(place)
        if pid is not None:
            os.kill(pid, signal.SIGKILL)
        self.wait_for_death(place)
        attach.remove(place)

    def attach(self, place: Path) -> Daemon:
        daemon = Daemon(place)
        self.addCleanup(daemon.close)
        return daemon

    def wait_for_death(self, place: Path) -> None:
        pid = attach.supervisor_pid(place)
        if pid is None:
            return
        with contextlib.suppress(ProcessLookupError):
            process = os.pidfd_open(pid)
            self.addCleanup(os.close, process)
            self.assertTrue(select.select([process], [], [], HANGS)[0], "it still lives")
        # Its parent, init or whoever adopts orphans here, has yet to notice.
        until = time.monotonic() + HANGS
        while attach.is_alive(place) and time.monotonic() < until:
            time.sleep(0.01)

    def finish(self, daemon: Daemon, place: Path) -> Told:
        while daemon.hear():
            pass
        self.wait_for_death(place)
        return told(place)


class AttachTests(AttachCase):
    def test_a_supervisor_is_started_and_tells_of_its_reports(self) -> None:
        place = self.start(self.order("cat greeting"))
        daemon = self.attach(place)
        ended = self.finish(daemon, place)
        passed(self, ended)
        self.assertEqual(daemon.reports, Reports(last=len(ended.bodies), ended=True))
        self.assertFalse(attach.is_alive(place))

    def test_a_line_is_seen_while_the_command_still_runs(self) -> None:
        place = self.start(self.order(f"echo first; sleep {self.mark}"))
        daemon = self.attach(place)
        daemon.wait_for_log(place, "\nfirst\n")
        self.assertTrue(attach.is_alive(place))
        daemon.say(Kill())
        self.finish(daemon, place)

    def test_it_is_in_a_session_of_its_own_and_no_child_of_ours(self) -> None:
        place = self.start(self.order(f"sleep {self.mark}"))
        pid = attach.supervisor_pid(place)
        assert pid is not None
        self.assertNotEqual(os.getsid(pid), os.getsid(0))
        self.assertRaises(ChildProcessError, os.waitpid, pid, os.WNOHANG)

    def test_it_inherits_no_file_but_its_log(self) -> None:
        leak, other = socket.socketpair()
        self.addCleanup(leak.close)
        self.addCleanup(other.close)
        os.set_inheritable(leak.fileno(), True)
        inode = os.fstat(leak.fileno()).st_ino
        place = self.start(self.order("sleep 1000"))
        self.attach(place)
        pid = attach.supervisor_pid(place)
        open_files = [os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()]
        self.assertNotIn(f"socket:[{inode}]", open_files)

    def test_daemons_come_and_go(self) -> None:
        place = self.start(self.order("cat greeting; read < gate", fence_after=600))
        for _ in range(3):
            daemon = self.attach(place)
            self.assertTrue(daemon.hear())
            daemon.close()
        one, two = self.attach(place), self.attach(place)
        one.wait_for_log(place, "No such file")
        self.assertEqual(self.finish(one, place).end.result, Result.FAILURE)
        self.finish(two, place)
        self.assertEqual(one.reports, two.reports)

    def test_a_second_supervisor_is_refused(self) -> None:
        place = self.start(self.order("sleep 1000"))
        self.assertRaises(attach.StillAlive, attach.start, place)
        self.assertRaises(attach.StillAlive, attach.remove, place)
        self.assertRaises(attach.StillAlive, attach.write_off, place, "no")

    def test_a_process_that_got_the_same_id_is_not_mistaken_for_it(self) -> None:
        place = folder(self)
        (place / attach.PID).write_text(f"{os.getpid()} 12 {attach._boot()}\n")
        self.assertFalse(attach.is_alive(place))
        (place / attach.PID).write_text(
            f"{os.getpid()} {attach._start_time(os.getpid())} another-boot\n"
        )
        self.assertFalse(attach.is_alive(place))
        attach.note_process(place, os.getpid())
        self.assertTrue(attach.is_alive(place))

    def test_a_folder_whose_path_is_long_has_a_socket_all_the_same(self) -> None:
        top = folder(self) / ("x" * 120)
        place = top / "7-2"
        attach.write_order(
            place, self.order("sleep 1000"), Settings(cache=str(top / "cache"))
        )
        attach.start(place)
        self.addCleanup(self.clear, place)
        self.assertTrue(self.attach(place).hear())

    def test_the_folder_is_private(self) -> None:
        place = self.start(self.order("true"))
        self.assertEqual(place.stat().st_mode & 0o777, 0o700)
        self.assertEqual((place / attach.ORDER).stat().st_mode & 0o777, 0o600)

    def test_renewals_keep_the_build_alive(self) -> None:
        place = self.start(self.order("sleep 2.5; cat greeting", fence_after=1.0))
        daemon = self.attach(place)
        until = time.monotonic() + HANGS
        while not daemon.reports.ended and time.monotonic() < until:
            daemon.say(Renew())
            if select.select([daemon.line], [], [], 0.2)[0] and not daemon.hear():
                break
        passed(self, self.finish(daemon, place))

    def test_nonsense_on_the_socket_closes_it_and_nothing_else(self) -> None:
        place = self.start(self.order("read < gate || sleep 1000"))
        for nonsense in (b"hello\n", b"{}\n", b"\xff\n", b"x" * 100_000):
            daemon = self.attach(place)
            with contextlib.suppress(OSError):
                daemon.line.send(nonsense)
            while daemon.hear():
                pass
        self.assertTrue(attach.is_alive(place))

    def test_a_daemon_that_does_not_listen_slows_nothing(self) -> None:
        place = self.start(self.order("for i in {1..60}; do echo $i; sleep 0.01; done"))
        deaf, daemon = self.attach(place), self.attach(place)
        deaf.line.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1)
        passed(self, self.finish(daemon, place))


class StopTests(AttachCase):
    def started(self, run: str, **changes: Any) -> tuple[Path, Daemon]:
        place = self.start(self.order(f"echo begun; {run}", **changes))
        daemon = self.attach(place)
        daemon.wait_for_log(place, "\nbegun\n")
        return place, daemon

    def test_a_cancelled_attempt_says_so_of_every_job(self) -> None:
        place, daemon = self.started(f"sleep {self.mark} & setsid sleep {self.mark} & wait")
        daemon.say(CancelAttempt(why="Ann changed her mind"))
        ended = self.finish(daemon, place)
        self.assertEqual(ended.results, {"unit:0": "cancelled", "pack:0": "cancelled"})
        self.assertEqual(ended.end.result, Result.CANCELLED)
        self.assertIn("Ann changed her mind", ended.end.reason)
        self.assertEqual(running(self.mark), [])

    def test_cancelling_interrupts_a_fetch_that_hangs(self) -> None:
        hole = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(hole.close)
        self.source = GitSource(
            repository=f"http://127.0.0.1:{hole.getsockname()[1]}/x.git", commit="12" * 20
        )
        place = self.start(self.order("true"))
        daemon = self.attach(place)
        hole.settimeout(HANGS)
        asker, _ = hole.accept()
        self.addCleanup(asker.close)
        daemon.say(CancelAttempt(why="no patience"))
        ended = self.finish(daemon, place)
        self.assertEqual(ended.end.result, Result.CANCELLED)
        self.assertEqual(ended.results, {"unit:0": "cancelled", "pack:0": "cancelled"})
        self.assertIn("== cancelled:", ended.log(), "it was killed, not interrupted")

    def test_a_build_that_cannot_be_interrupted_is_killed_and_reported(self) -> None:
        place, daemon = self.started("sleep 1000")
        [build] = children(attach.supervisor_pid(place))
        os.kill(build, signal.SIGSTOP)
        daemon.say(CancelAttempt(why="now"))
        ended = self.finish(daemon, place)
        self.assertEqual(ended.results, {"unit:0": "cancelled", "pack:0": "cancelled"})

    def test_a_killed_attempt_says_nothing_more(self) -> None:
        place, daemon = self.started(f"sleep {self.mark} & setsid sleep {self.mark} & wait")
        count = len(told(place).bodies)
        daemon.say(Kill())
        self.assertEqual(len(self.finish(daemon, place).bodies), count)
        self.assertTrue(place.exists())
        attach.remove(place)
        self.assertEqual(running(self.mark), [])
        self.assertFalse(place.exists())

    def test_term_ends_it_with_a_word(self) -> None:
        place, daemon = self.started("sleep 1000")
        os.kill(attach.supervisor_pid(place) or 0, signal.SIGTERM)
        ended = self.finish(daemon, place)
        self.assertEqual(ended.end.result, Result.ERROR)
        self.assertIn("shutting down", ended.end.reason)


class DeathTests(AttachCase):
    def started(self) -> tuple[Path, Daemon]:
        run = f"echo begun; setsid sleep {self.mark} & sleep {self.mark}"
        place = self.start(self.order(run))
        daemon = self.attach(place)
        daemon.wait_for_log(place, "\nbegun\n")
        return place, daemon

    def test_when_the_build_dies_the_watch_reports_it(self) -> None:
        place, daemon = self.started()
        [build] = children(attach.supervisor_pid(place))
        os.kill(build, signal.SIGKILL)
        ended = self.finish(daemon, place)
        self.assertEqual(ended.results, {"unit:0": "error", "pack:0": "unrun"})
        self.assertEqual(ended.end.result, Result.ERROR)
        self.assertIn("died (signal 9)", ended.end.reason)
        if not are_allowed():
            attach.remove(place)  # a brood that lost its head is swept
        self.assertEqual(running(self.mark), [])

    def test_when_the_supervisor_dies_everything_dies_and_can_be_written_off(self) -> None:
        place, daemon = self.started()
        os.kill(attach.supervisor_pid(place) or 0, signal.SIGKILL)
        while daemon.hear():
            pass
        self.wait_for_death(place)
        reader = SpoolReader(place)
        self.addCleanup(reader.close)
        self.assertFalse(reader.ended)
        if are_allowed():
            # The kernel kills them one after the other, down the line.
            until = time.monotonic() + HANGS
            while running(self.mark) and time.monotonic() < until:
                time.sleep(0.01)
            self.assertEqual(running(self.mark), [])
        before = len(told(place).of(LogChunk))
        for _ in range(2):
            attach.write_off(place, "the supervisor died")
        ended = told(place)
        self.assertEqual(ended.results, {"unit:0": "error", "pack:0": "unrun"})
        self.assertEqual(ended.jobs["unit:0"].reason, "the supervisor died")
        self.assertEqual(len(ended.of(LogChunk)), before)
        self.assertTrue(reader.ended)
        attach.remove(place)
        self.assertEqual(running(self.mark), [])

    def test_an_attempt_is_never_begun_twice(self) -> None:
        place, daemon = self.started()
        os.kill(attach.supervisor_pid(place) or 0, signal.SIGKILL)
        self.finish(daemon, place)
        attach.start(place)
        self.wait_for_death(place)
        ended = told(place)
        self.assertEqual(ended.results, {"unit:0": "error", "pack:0": "unrun"})
        self.assertEqual(ended.log().count("\nbegun\n"), 1)

    def test_an_attempt_that_never_began_can_be_written_off(self) -> None:
        place = folder(self) / "7-2"
        attach.write_order(place, self.order("true"), Settings(cache="/nowhere"))
        attach.write_off(place, "the disk was full")
        self.assertEqual(told(place).results, {"unit:0": "unrun", "pack:0": "unrun"})

    def test_removing_is_safe_to_repeat(self) -> None:
        place, process = begin(self, self.order("mkdir -p ../deep; chmod 0 ../deep"))
        process.wait(HANGS)
        for _ in range(2):
            attach.remove(place)
            self.assertFalse(place.exists())


def children(parent: int | None) -> list[int]:
    """The process ids of the children of ``parent``."""
    return [
        int(child)
        for child in Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    ]

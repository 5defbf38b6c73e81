from __future__ import annotations

import os
import select
import signal
from pathlib import Path

from tests.worker.supervisor.attempts import HANGS, folder, job, order, passed, told
from tests.worker.supervisor.test_attach import AttachCase, Daemon
from worker.supervisor import attach
from worker.supervisor.nursery import Nursery
from worker.supervisor.settings import Settings


class NurseryTests(AttachCase):
    def setUp(self) -> None:
        super().setUp()
        self.nursery = Nursery()
        self.nursery.open()
        self.addCleanup(self.nursery.close)

    def bear(self, run: str) -> tuple[Path, Daemon]:
        top = folder(self)
        place = top / "7-2"
        asked = order(self.source, [[("unit", job(run))]])
        attach.write_order(place, asked, Settings(cache=str(top / "cache")))
        attach.start(place, self.nursery.launch)
        self.addCleanup(self.clear, place)
        return place, self.attach(place)

    def test_its_supervisors_are_like_those_that_start_from_nothing(self) -> None:
        for _ in range(2):
            place, daemon = self.bear("cat greeting; trap -p")
            ended = self.finish(daemon, place)
            passed(self, ended)
            self.assertIn("\nhello\n", ended.log("unit"))
            self.assertEqual((place / attach.LOG).read_text(), "")

    def test_a_supervisor_has_its_own_session_and_only_its_own_files(self) -> None:
        place, daemon = self.bear("echo begun; sleep 1000")
        daemon.wait_for_log(place, "\nbegun\n")
        pid = attach.supervisor_pid(place)
        assert pid is not None
        self.assertNotEqual(os.getsid(pid), os.getsid(0))
        links = {
            int(path.name): os.readlink(path) for path in Path(f"/proc/{pid}/fd").iterdir()
        }
        self.assertEqual((links[0], links[1]), ("/dev/null", "/dev/null"))
        self.assertEqual(links[2], str(place / attach.LOG))
        line = self.nursery._line
        assert line is not None
        peers = [name for name in links.values() if name.startswith("socket:")]
        self.assertEqual(len(peers), 2)  # to be reached on, and reached by this test

    def test_supervisors_outlive_it(self) -> None:
        place, daemon = self.bear("echo begun; read < gate || sleep 1000")
        daemon.wait_for_log(place, "\nbegun\n")
        self.nursery.close()
        self.assertTrue(attach.is_alive(place))
        self.assertIn("\nbegun\n", told(place).log())

    def test_it_is_replaced_when_it_dies(self) -> None:
        process = self.nursery._process
        assert process is not None
        os.kill(process.pid, signal.SIGKILL)
        process.wait()
        place, daemon = self.bear("cat greeting")
        passed(self, self.finish(daemon, place))

    def test_it_ends_with_the_daemon(self) -> None:
        process = self.nursery._process
        assert process is not None
        ended = os.pidfd_open(process.pid)
        self.addCleanup(os.close, ended)
        assert self.nursery._line is not None
        self.nursery._line.close()  # as the kernel does for a daemon that is killed
        self.assertTrue(select.select([ended], [], [], HANGS)[0])

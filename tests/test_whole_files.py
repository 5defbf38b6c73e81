"""Files of builds where there are two masters, each with a disk of its own."""

from __future__ import annotations

import hashlib
import os
from typing import Any

from twisted.internet import reactor
from twisted.internet.task import deferLater
from twisted.internet.threads import deferToThread
from twisted.trial.unittest import TestCase

from buildmaster.client.http import FarmRefused
from protocol.tls import make_certificate
from tests.broken_lines import BrokenLines
from tests.farm import folder_for
from tests.masters import MasterHome
from tests.postgres import fresh_dsn
from tests.worker.daemons import WorkerHome
from worker.supervisor.blobs import Blobs

#: One file before the master dies, and one after; the second job wants the first one's.
PIPELINE = """\
pipeline: [early, late]
jobs:
  early:
    series: bookworm
    architectures: [amd64, arm64]
    run: echo from the first master > early.txt
    output: {paths: [early.txt]}
  late:
    series: bookworm
    architectures: [amd64, arm64]
    run: |
      echo it waits
      until test -e GATE; do sleep 0.05; done
      echo from the second master > late.txt
    output: {paths: [late.txt]}
"""
EARLY, LATE = b"from the first master\n", b"from the second master\n"


class BrokenLinesTests(TestCase):
    """A line that breaks while a file is on its way."""

    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]
        self.folder = folder_for(self)
        self.master = MasterHome(self, fresh_dsn(self))
        await self.master.start()
        self.content = self.folder / "content"
        self.content.write_bytes(os.urandom(20_000_000))
        self.said: list[str] = []

    def blobs(self, breaks_after: int) -> tuple[Blobs, BrokenLines]:
        lines = BrokenLines(self, self.master.http, breaks_after)
        url = f"http://127.0.0.1:{lines.port}/api/v1/artifacts"
        token = (self.master.folder / "token").read_text().strip()
        return Blobs(url, token, self.said.append, 20.0), lines

    async def test_what_has_arrived_is_not_sent_again(self) -> None:
        there, lines = self.blobs(12_000_000)
        digest, size = await deferToThread(there.upload, self.content)
        self.assertEqual(len(self.said), 1, "the line did not break")
        # But for what was under way, or lay in buffers.
        self.assertLess(lines.sent, size + 8_000_000)
        back, lines = self.blobs(12_000_000)
        await deferToThread(back.download, digest, size, self.folder / "back")
        self.assertEqual(len(self.said), 2, "the line did not break")
        self.assertLess(lines.got, size + 8_000_000)
        self.assertEqual((self.folder / "back").read_bytes(), self.content.read_bytes())


class FilesOfTwoMastersTests(TestCase):
    timeout = 180

    async def setUp(self) -> None:  # type: ignore[override]
        self.dsn = fresh_dsn(self)
        self.folder = folder_for(self)
        self.settings: dict[str, Any] = {}

    def masters(self) -> None:
        self.one = MasterHome(self, self.dsn, "m1", **self.settings)
        self.two = MasterHome(self, self.dsn, "m2", **self.settings)

    def keeps(self, master: MasterHome, content: bytes) -> bool:
        digest = hashlib.sha256(content).hexdigest()
        return (master.folder / "blobs" / digest[:2] / digest[2:]).exists()

    async def fetch(self, master: MasterHome, content: bytes) -> bytes:
        pieces: list[bytes] = []
        digest = hashlib.sha256(content).hexdigest()
        await master.client.artifact(digest, pieces.append)
        return b"".join(pieces)

    async def build_through_both(self) -> None:
        """A build that begins at one master and ends at the other, and passes."""
        gate = self.folder / "gate"
        daemon = await self.one.start()
        await self.two.start()
        WorkerHome(self, self.one.port, self.two.port).start()
        await self.one.worker("ant", "connected")
        [job] = await self.one.submit(self, PIPELINE.replace("GATE", str(gate)))
        await self.one.logged(job, "it waits")
        await daemon.kill()
        # The database may not have heard yet that the first session is over.
        while "worker ant joined" not in self.two.log:
            await deferLater(reactor, 0.05)
        gate.touch()
        ended = await self.two.done(job)
        self.assertEqual((ended.result, ended.attempt), ("success", 1), ended.reason)

    async def test_a_build_goes_on_at_the_other_and_both_give_all_files(self) -> None:
        self.masters()
        await self.build_through_both()
        self.assertTrue(self.keeps(self.one, EARLY) and self.keeps(self.two, LATE))
        self.assertFalse(self.keeps(self.two, EARLY) or self.keeps(self.one, LATE))
        self.assertEqual(await self.fetch(self.two, LATE), LATE)
        with self.assertRaises(FarmRefused) as caught:
            await self.fetch(self.two, EARLY)  # Its only keeper is away.
        self.assertEqual(
            (caught.exception.status, caught.exception.code), (503, "master_away")
        )
        await self.one.start()
        for master in (self.one, self.two):
            self.assertEqual(await self.fetch(master, EARLY), EARLY)
            self.assertEqual(await self.fetch(master, LATE), LATE)
            self.assertTrue(self.keeps(master, EARLY) and self.keeps(master, LATE))

    async def test_a_file_that_was_damaged_there_is_not_taken_over(self) -> None:
        self.masters()
        await self.build_through_both()
        await self.one.start()
        digest = hashlib.sha256(LATE).hexdigest()
        (self.two.folder / "blobs" / digest[:2] / digest[2:]).write_bytes(b"x" * len(LATE))
        with self.assertRaises(FarmRefused) as caught:
            await self.fetch(self.one, LATE)
        self.assertEqual(caught.exception.status, 503)
        self.assertFalse(self.keeps(self.one, LATE))

    async def test_over_tls_a_master_is_known_by_its_certificate(self) -> None:
        certificate, key = self.folder / "c.pem", self.folder / "k.pem"
        make_certificate(certificate, key, ["127.0.0.1"])
        self.settings["tls"] = {"certificate": str(certificate), "key": str(key)}
        self.masters()
        for master in (self.one, self.two):
            master.trust_file = str(certificate)
            await master.start()
        content = self.folder / "content"
        content.write_bytes(LATE)
        with content.open("rb") as stream:
            await self.one.client.store_artifact(hashlib.sha256(LATE).hexdigest(), stream)
        self.assertEqual(await self.fetch(self.two, LATE), LATE)
        self.assertTrue(self.keeps(self.two, LATE))

    async def test_what_nobody_has_is_not_there(self) -> None:
        self.masters()
        await self.one.start()
        await self.two.start()
        with self.assertRaises(FarmRefused) as caught:
            await self.fetch(self.one, b"never stored")
        self.assertEqual(caught.exception.status, 404)

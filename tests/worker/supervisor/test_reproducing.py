"""The program that runs an attempt's order again, on this machine and for no farm."""

from __future__ import annotations

import os
import subprocess
import sys

import msgspec
from twisted.trial.unittest import SynchronousTestCase

from protocol.order import HandedOver, KeptFile
from tests.worker.supervisor.attempts import ROOT, folder, job, order, repository
from tests.worker.supervisor.blob_server import TOKEN, BlobServer
from worker.supervisor.reproducing import Reproduction


class ReproducingTests(SynchronousTestCase):
    def test_files_that_were_handed_over_are_fetched_from_the_farm(self) -> None:
        farm = BlobServer(self)
        file = KeptFile(path="d/f", sha256=farm.keep(b"handed"), size=6)
        asked = order(
            repository(self, {"greeting": "hello"}),
            [[("one", job("cat $CI_INPUT_BUILD/d/f; echo; echo for $CI_PACKAGE"))]],
            handed=(HandedOver(job="build", files=(file,)),),
            variables={"CI_PACKAGE": "A"},
        )
        place = folder(self)
        done = subprocess.run(
            [
                *(sys.executable, "-P", "-m", "worker.supervisor.reproducing"),
                *(str(place / "here"), "--images", str(place / "images")),
                *("--farm", farm.url.removesuffix("/artifacts")),
            ],
            input=msgspec.json.encode(Reproduction(order=asked)),
            env={**os.environ, "HEADRACE_TOKEN": TOKEN, "PYTHONPATH": str(ROOT)},
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
        said = done.stdout.decode()
        self.assertEqual(done.returncode, 0, said)
        self.assertIn("\nhanded\nfor A\n", said)

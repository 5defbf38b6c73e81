from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from protocol.order import Artifacts, GitSource, HandedOver, KeptFile, Order
from worker.supervisor.endings import CannotRun
from worker.supervisor.handing import fetch, place_in, variables


class _Blobs:
    """Contents by their hash, from memory."""

    def __init__(self, *contents: bytes) -> None:
        self._contents = {hashlib.sha256(one).hexdigest(): one for one in contents}

    def download(self, sha256: str, size: int, target: Path) -> None:
        target.write_bytes(self._contents[sha256])


class _Environment:
    project = "/build/lpci/project"


def order(*handed: HandedOver) -> Order:
    return Order(
        job=1,
        attempt=1,
        isolation="native",
        architecture="amd64",
        series="noble",
        source=GitSource(repository="/r", commit="a" * 40),
        project="p",
        stages=(),
        stage_numbers=(),
        jobs={},
        artifacts=Artifacts(url="", token=""),
        fence_after=1.0,
        handed=handed,
    )


def file(path: str, content: bytes = b"x") -> KeptFile:
    digest = hashlib.sha256(content).hexdigest()
    return KeptFile(path=path, sha256=digest, size=len(content))


class HandingTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(tempfile.mkdtemp())
        self.blobs: Any = _Blobs(b"x", b"y")

    def test_files_lie_in_a_folder_for_each_job(self) -> None:
        asked = order(
            HandedOver(job="copr-build", files=(file("B/a/f"), file("g", b"y"))),
            HandedOver(job="empty"),
        )
        whole = fetch(asked, self.blobs, self.folder)
        assert whole is not None
        self.assertEqual((whole / "copr_build" / "B" / "a" / "f").read_bytes(), b"x")
        self.assertEqual((whole / "copr_build" / "g").read_bytes(), b"y")
        self.assertEqual(list((whole / "empty").iterdir()), [])
        environment: Any = _Environment()
        self.assertEqual(
            variables(asked, environment),
            {
                "CI_INPUT_COPR_BUILD": "/build/headrace-inputs/copr_build",
                "CI_INPUT_EMPTY": "/build/headrace-inputs/empty",
            },
        )

    def test_the_folder_is_no_output(self) -> None:
        environment: Any = _Environment()
        beside = Path(environment.project).parent
        self.assertNotIn(beside, Path(place_in(environment)).parents)

    def test_nothing_is_written_elsewhere(self) -> None:
        for path in ("../x", "/etc/x", "a/../../../x", "", "."):
            with self.assertRaises(CannotRun):
                fetch(
                    order(HandedOver(job="a", files=(file(path),))), self.blobs, self.folder
                )
        self.assertFalse((self.folder / "inputs").exists())

    def test_files_in_each_others_way_are_told(self) -> None:
        asked = order(HandedOver(job="a", files=(file("b"), file("b/c"))))
        with self.assertRaisesRegex(CannotRun, "in the way of another"):
            fetch(asked, self.blobs, self.folder)

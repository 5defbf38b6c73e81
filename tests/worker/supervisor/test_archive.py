from __future__ import annotations

import gzip
import io
import os
import tarfile
from pathlib import Path

import zstandard
from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from tests.worker.supervisor.attempts import folder
from worker.supervisor.archive import unpack
from worker.supervisor.endings import Malformed


def member(name: str, kind: bytes = tarfile.REGTYPE, **fields: object) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type = kind
    for field, value in fields.items():
        setattr(info, field, value)
    return info


def tar(*members: tarfile.TarInfo, content: bytes = b"") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as archive:
        for each in members:
            if each.type == tarfile.REGTYPE:
                each.size = len(content)
            archive.addfile(each, io.BytesIO(content))
    return out.getvalue()


class UnpackTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.top = folder(self)
        self.target = self.top / "tree"

    def unpack(self, content: bytes, limit: int = 10**6) -> Path:
        (self.top / "tar").write_bytes(content)
        unpack(self.top / "tar", self.target, limit)
        return self.target

    def refusal(self, content: bytes, limit: int = 10**6) -> str:
        error: Malformed = self.assertRaises(Malformed, self.unpack, content, limit)
        return error.reason

    def test_files_folders_and_links_arrive(self) -> None:
        tree = self.unpack(
            tar(
                member("empty", tarfile.DIRTYPE),
                member("deep/down/file", mode=0o4755),
                member("link", tarfile.SYMTYPE, linkname="deep/down"),
                content=b"hello",
            )
        )
        self.assertTrue((tree / "empty").is_dir())
        self.assertEqual((tree / "deep/down/file").read_bytes(), b"hello")
        self.assertEqual((tree / "deep/down/file").stat().st_mode & 0o7777, 0o755)
        self.assertEqual(os.readlink(tree / "link"), "deep/down")

    def test_compressed_archives_are_understood(self) -> None:
        plain = tar(member("file"), content=b"hello")
        for number, packed in enumerate((gzip.compress(plain), zstandard.compress(plain))):
            self.target = self.top / str(number)
            self.assertEqual((self.unpack(packed) / "file").read_bytes(), b"hello")

    def test_nothing_is_written_outside(self) -> None:
        for name in ("../out", "/tmp/headrace-out", "a/../../out", "a/b/../../../out"):
            self.target = self.top / f"tree{abs(hash(name))}"
            self.assertIn("leads out of it", self.refusal(tar(member(name))))
        self.assertFalse((self.top / "out").exists())

    def test_nothing_is_written_through_a_link(self) -> None:
        way_out = member("way", tarfile.SYMTYPE, linkname=str(self.top))
        for name in ("way/out", "way", "way/deep/out"):
            self.target = self.top / f"tree{abs(hash(name))}"
            self.assertIn("other side of a link", self.refusal(tar(way_out, member(name))))
        self.assertFalse((self.top / "out").exists())

    def test_links_between_files_devices_and_pipes_are_refused(self) -> None:
        for kind in (tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE, tarfile.FIFOTYPE):
            self.target = self.top / f"tree{kind!r}"
            hostile = member("x", kind, linkname="/etc/passwd")
            self.assertIn("no file, folder or link", self.refusal(tar(hostile)))

    def test_a_header_that_claims_much_is_not_read(self) -> None:
        """The memory for it would be the machine's."""
        claim = member("x", tarfile.XHDTYPE, size=2**33).tobuf(tarfile.GNU_FORMAT)
        bomb = claim + bytes(10**6)
        for content in (bomb, gzip.compress(bomb), zstandard.compress(bomb)):
            self.assertIn("too large", self.refusal(content))
            self.target.rmdir()

    def test_a_name_may_come_only_once(self) -> None:
        self.assertIn("twice", self.refusal(tar(member("x"), member("x"))))

    def test_an_archive_that_unpacks_to_too_much_is_refused(self) -> None:
        bomb = gzip.compress(tar(member("x"), content=bytes(2_000_000)))
        self.assertLess(len(bomb), 10_000)
        self.assertIn("more than 1000000 bytes", self.refusal(bomb))

    def test_what_is_no_archive_or_only_half_of_one_is_refused(self) -> None:
        whole = tar(member("x"), content=b"hello" * 1000)
        for number, content in enumerate(
            (b"", b"hello", whole[:2000], zstandard.compress(whole)[:-9])
        ):
            self.target = self.top / str(number)
            self.assertIn("no proper tar archive", self.refusal(content))

    def test_names_need_not_be_text(self) -> None:
        name = os.fsdecode(b"caf\xe9 \n")
        self.assertEqual(os.listdir(self.unpack(tar(member(name)))), [name])

    @given(st.binary(max_size=1500), st.integers(0, 1500))
    def test_no_bytes_do_harm(self, rubbish: bytes, place: int) -> None:
        whole = tar(member("x"), member("y", tarfile.SYMTYPE, linkname="/"))
        broken = whole[:place] + rubbish + whole[place + len(rubbish) :]
        self.target = folder(self) / "tree"
        try:
            self.unpack(broken)
        except (Malformed, FileExistsError):
            pass

"""Reading one file of a tar archive that may be hostile."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.requests import Refusal
from buildmaster.source import archive as archive_module
from buildmaster.source.archive import read_tree_configuration
from buildmaster.source.reader import FILE_LIMIT

PATH = ".launchpad.yaml"


def member(
    name: str, content: bytes = b"", kind: bytes = tarfile.REGTYPE
) -> tarfile.TarInfo:
    made = tarfile.TarInfo(name)
    made.type, made.size = kind, len(content)
    return made


class ArchiveTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.archive = Path(self.mktemp())

    def write(self, *members: tuple[tarfile.TarInfo, bytes], form: int = 2) -> None:
        with tarfile.open(self.archive, "w:", format=form) as tar:
            for info, content in members:
                tar.addfile(info, io.BytesIO(content))

    def refusal(self, code: str, path: str = PATH) -> Refusal:
        with self.assertRaises(Refusal) as caught:
            read_tree_configuration(self.archive, path)
        error: Refusal = caught.exception
        self.assertEqual(error.code, code, str(error))
        return error

    def test_the_file_is_found_however_it_is_called(self) -> None:
        for form in (tarfile.USTAR_FORMAT, tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            for name in (PATH, f"./{PATH}"):
                other = member("d/" + "é" * 40)
                self.write((other, b""), (member(name, b"text"), b"text"), form=form)
                self.assertEqual(
                    read_tree_configuration(self.archive, PATH), (b"text", PATH)
                )

    def test_what_is_not_there_is_told(self) -> None:
        self.write((member(f"sub/{PATH}", b"x"), b"x"))
        self.refusal("configuration_missing")
        self.refusal("configuration_missing", "sub")
        self.refusal("bad_path", "../x")

    def test_only_a_regular_file_is_read(self) -> None:
        for kind in (tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.DIRTYPE, tarfile.FIFOTYPE):
            link = member(PATH, kind=kind)
            link.linkname = "/etc/passwd"
            self.write((link, b""))
            self.refusal("configuration_missing")

    def test_a_large_file_is_refused(self) -> None:
        content = b"x" * (FILE_LIMIT + 1)
        self.write((member(PATH, content), content))
        self.refusal("configuration_too_large")

    def test_too_many_members_are_refused(self) -> None:
        self.patch(archive_module, "MEMBER_LIMIT", 10)
        self.write(*((member(f"f{n}"), b"") for n in range(11)))
        self.refusal("tree_too_large")

    def test_a_header_that_claims_much_is_not_read(self) -> None:
        """Whole, into memory, is how tarfile would read it."""
        for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
            header = member("x", kind=kind)
            header.size = 2**33
            with open(self.archive, "wb") as file:
                file.write(header.tobuf(tarfile.GNU_FORMAT))
                file.truncate(2**33)  # a hole
            self.assertIn("too large", str(self.refusal("bad_tree")))

    def test_endless_headers_about_headers_are_refused(self) -> None:
        record = b"21 comment=012345678\n".ljust(512, b"\0")
        for kind, count in ((tarfile.XGLTYPE, 50), (tarfile.XHDTYPE, 5000)):
            header = member("x", kind=kind)
            header.size = 21
            one = header.tobuf(tarfile.USTAR_FORMAT) + record
            self.archive.write_bytes(one * count)
            self.refusal("bad_tree")

    def test_a_cut_off_archive_is_refused(self) -> None:
        content = b"x" * 5000
        self.write((member(PATH, content), content))
        self.archive.write_bytes(self.archive.read_bytes()[:3000])
        self.refusal("bad_tree")

    def test_what_is_no_archive_is_refused(self) -> None:
        for content in (b"", b"\x1f\x8b\x08", b"x" * 5000, b"\x28\xb5\x2f\xfd" * 400):
            self.archive.write_bytes(content)
            self.refusal("bad_tree")

    @given(st.data())
    def test_damage_anywhere_ends_in_the_file_or_a_refusal(
        self, data: st.DataObject
    ) -> None:
        long = member("d/" * 60 + "x", b"y")
        self.write((long, b"y"), (member(PATH, b"text"), b"text"), form=tarfile.PAX_FORMAT)
        content = bytearray(self.archive.read_bytes())
        for _ in range(data.draw(st.integers(1, 4))):
            place = data.draw(st.integers(0, 6 * 512))
            content[place % len(content)] = data.draw(st.integers(0, 255))
        self.archive.write_bytes(content)
        try:
            read_tree_configuration(self.archive, PATH)
        except Refusal:
            pass

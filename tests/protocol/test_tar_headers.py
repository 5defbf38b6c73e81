from __future__ import annotations

import io
import tarfile
from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from protocol import tar_headers
from protocol.tar_headers import EXTENSION_LIMIT, GLOBAL_LIMIT, bounded_headers


def header(kind: bytes, size: int) -> bytes:
    """One header and what it says, which is as short as can be."""
    info = tarfile.TarInfo("x")
    info.type = kind
    info.size = size
    record = b"21 comment=012345678\n".ljust(tarfile.BLOCKSIZE, b"\0")
    return info.tobuf(tarfile.GNU_FORMAT) + record


def names(archive: bytes, mode: str) -> list[str]:
    opened: Any = tarfile.open(  # type: ignore[call-overload]
        fileobj=io.BytesIO(archive), mode=mode, tarinfo=bounded_headers()
    )
    with opened as tar:
        return [member.name for member in tar]


class BoundedHeadersTests(SynchronousTestCase):
    def test_what_claims_much_is_refused_before_it_is_read(self) -> None:
        for kind in (tarfile.XHDTYPE, tarfile.XGLTYPE, tarfile.GNUTYPE_LONGNAME):
            for size in (EXTENSION_LIMIT + 1, 2**33):
                for mode in ("r:", "r|"):
                    with self.assertRaisesRegex(ValueError, "too large"):
                        names(header(kind, size), mode)

    def test_headers_for_all_that_follow_are_counted(self) -> None:
        one = header(tarfile.XGLTYPE, 21)
        last = header(tarfile.REGTYPE, 21)
        self.assertEqual(names(one * GLOBAL_LIMIT + last, "r:"), ["x"])
        with self.assertRaisesRegex(ValueError, "too many"):
            names(one * (GLOBAL_LIMIT + 1) + last, "r:")

    def test_long_names_are_fine(self) -> None:
        long = "é" * 4000
        for form in (tarfile.GNU_FORMAT, tarfile.PAX_FORMAT):
            info = tarfile.TarInfo(long)
            archive = info.tobuf(form, "utf-8") + bytes(2 * tarfile.BLOCKSIZE)
            self.assertEqual(names(archive, "r:"), [long])

    def test_a_python_that_reads_past_it_is_refused(self) -> None:
        original = tarfile.TarInfo.__dict__["fromtarfile"]
        plain = original.__func__
        past = classmethod(lambda cls, tar: plain(tarfile.TarInfo, tar))
        # As it stands in the class: what patch would put back is bound to TarInfo.
        self.addCleanup(setattr, tarfile.TarInfo, "fromtarfile", original)
        tarfile.TarInfo.fromtarfile = past  # type: ignore[method-assign,assignment]
        with self.assertRaisesRegex(RuntimeError, "cannot be bounded"):
            tar_headers._require_effect.__wrapped__()

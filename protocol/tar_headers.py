"""Headers of tar archives that strangers send, bounded before they are read.

A header may say that its own text is as long as it likes, and tarfile would read all of
it into memory. Headers that hold for all that follow are merged into each that follows.
"""

from __future__ import annotations

import io
import tarfile
from functools import cache
from typing import Any, Self

#: Bytes of a header that extends another; a long path takes 4 KiB.
EXTENSION_LIMIT = 64 * 1024
#: Headers that change all that follow; git archive writes one.
GLOBAL_LIMIT = 16
_EXTENSIONS = frozenset(
    {
        tarfile.XHDTYPE,
        tarfile.XGLTYPE,
        tarfile.SOLARIS_XHDTYPE,
        tarfile.GNUTYPE_LONGNAME,
        tarfile.GNUTYPE_LONGLINK,
    }
)


def bounded_headers() -> type[tarfile.TarInfo]:
    """The ``tarinfo`` with which to open one archive; it raises ValueError where one header
    claims too much, or too many claim to be about all others.
    """
    _require_effect()
    return _bounded_headers()


def _bounded_headers() -> type[tarfile.TarInfo]:
    globals_seen = 0

    def check(header: tarfile.TarInfo) -> None:
        nonlocal globals_seen
        if header.type in _EXTENSIONS and header.size > EXTENSION_LIMIT:
            raise ValueError("a header of it is too large")
        globals_seen += header.type == tarfile.XGLTYPE
        if globals_seen > GLOBAL_LIMIT:
            raise ValueError("too many headers of it are about all that follow")

    class Header(tarfile.TarInfo):
        """One header, refused if it claims too much."""

        @classmethod
        def frombuf(cls, buf: bytes | bytearray, encoding: str, errors: str) -> Self:
            header = super().frombuf(buf, encoding, errors)
            check(header)
            return header

        @classmethod
        def _frombuf(cls, *arguments: Any, **options: Any) -> Self:
            # Newer ones (Debian's 3.11.2-6+deb12u9, for one) read through this one.
            header: Self = super()._frombuf(*arguments, **options)  # type: ignore[misc]
            check(header)
            return header

    return Header


@cache
def _require_effect() -> None:
    """Better no archives than unbounded ones, should tarfile change once more."""
    claim = tarfile.TarInfo("x")
    claim.type = tarfile.XHDTYPE
    claim.size = EXTENSION_LIMIT + 1
    archive = io.BytesIO(claim.tobuf(tarfile.GNU_FORMAT) + bytes(2 * tarfile.BLOCKSIZE))
    try:
        tarfile.open(fileobj=archive, mode="r:", tarinfo=_bounded_headers()).close()
    except ValueError:
        return
    except tarfile.TarError:
        pass
    raise RuntimeError("this Python's tarfile cannot be bounded: run with an older one")

"""The farm's blobs, over HTTP: contents that a worker sends and fetches by their hash."""

from __future__ import annotations

import contextlib
import os
import stat
import time
from collections.abc import Callable, Iterator
from io import BufferedReader
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO, TypeVar

from protocol.trust import SYSTEM, Trust, fingerprint_of
from worker.supervisor.endings import CannotRun

# A supervisor starts often, and most builds neither send nor fetch a file: what takes long
# to import is imported where it is used.
if TYPE_CHECKING:
    from http.client import HTTPConnection, HTTPResponse

T = TypeVar("T")

_BLOCK = 1024 * 1024
#: Seconds without a byte after which a connection is given up.
_TIMEOUT = 30.0
#: Seconds that a master may be away before the attempt gives up.
PATIENCE = 600.0


class NoSuchBlob(Exception):
    """The farm has no such content."""


class _TryAgain(Exception):
    """The master is away or busy."""


class Blobs:
    """The blobs below one URL; all raises `CannotRun` when they stay out of reach."""

    def __init__(
        self,
        url: str,
        token: str,
        say: Callable[[str], None],
        patience: float = PATIENCE,
        trust: Trust = SYSTEM,
        moved: Callable[[], str | None] = lambda: None,
    ) -> None:
        """``moved`` says where the blobs are now, if no longer below ``url``."""
        self._first_url = url.rstrip("/")
        self._moved = moved
        self._token = token
        self._say = say
        self._patience = patience
        self._trust = trust

    def upload(self, file: Path) -> tuple[str, int]:
        """Make the content of ``file`` known to the farm; its sha256 and its size.

        Nothing is sent if the farm has it already.
        """
        import hashlib

        with plain_file(file) as stream:
            size = os.fstat(stream.fileno()).st_size
            digest = hashlib.file_digest(stream, "sha256").hexdigest()
            self._persist(lambda: self._store(digest, stream, size))
        return digest, size

    def download(self, sha256: str, size: int, target: Path, url: str = "") -> None:
        """Put the content with this hash and size into the file ``target``.

        From ``url`` if given. NoSuchBlob if the farm has lost it; `CannotRun` if what
        arrives is something else.
        """
        # An order says it as its own master would.
        ours = not url or url == f"{self._first_url}/{sha256}"
        with open(target, "wb") as file:
            arriving = _Arriving(file, target)
            self._persist(
                lambda: self._get(
                    f"{self._url}/{sha256}" if ours else url, sha256, size, arriving
                )
            )

    @property
    def _url(self) -> str:
        """Looked up for each try: the master may be another one by then."""
        return (self._moved() or self._first_url).rstrip("/")

    def _store(self, digest: str, stream: BinaryIO, size: int) -> None:
        url = f"{self._url}/{digest}"
        is_there, arrived = self._has(url)
        if not is_there:
            self._put(url, stream, size, arrived if arrived < size else 0)

    def _persist(self, attempt: Callable[[], T]) -> T:
        """Do ``attempt`` until it works, with growing pauses, as long as patience lasts."""
        from http.client import HTTPException

        until = time.monotonic() + self._patience
        pause = 0.1
        while True:
            try:
                return attempt()
            except (_TryAgain, OSError, HTTPException) as error:
                if isinstance(error, OSError) and error.filename is not None:
                    raise  # a file of ours, not the line to the master
                distrust = getattr(error, "verify_message", None)
                if distrust is not None:
                    raise CannotRun(
                        f"the certificate of {self._url} is not trusted here ({distrust});"
                        " name its authority in the worker's ca_file"
                    ) from error
                if time.monotonic() + pause > until:
                    raise CannotRun(
                        f"the master did not take or give files for {self._patience:g} "
                        f"seconds ({error}); look whether it is up"
                    ) from error
                if pause == 0.1:
                    self._say(f"the master is out of reach ({error}); trying again")
            time.sleep(pause)
            pause = min(pause * 2, 10.0)

    def _has(self, url: str) -> tuple[bool, int]:
        """Whether it is there; if not, how much of it arrived before a line broke."""
        with self._answer("HEAD", url) as response:
            is_there = _expect(response, url, 200, 404) == 200
            arrived = response.getheader("Upload-Offset") or ""
            return is_there, int(arrived) if arrived.isdecimal() else 0

    def _put(self, url: str, stream: BinaryIO, size: int, place: int) -> None:
        stream.seek(place)
        headers = {
            "Content-Length": str(size - place),
            "Content-Type": "application/octet-stream",
        }
        if place:
            headers["Content-Range"] = f"bytes {place}-{size - 1}/{size}"
        with self._answer("PUT", url, stream, headers) as response:
            if _expect(response, url, 200, 201, 204, 409) == 409:
                raise _TryAgain("it no longer has the first part")

    def _get(self, url: str, sha256: str, size: int, arriving: _Arriving) -> None:
        place = arriving.size
        headers = {"Range": f"bytes={place}-"} if place else {}
        with self._answer("GET", url, headers=headers) as response:
            status = _expect(response, url, 200, 206, 404, 410)
            if status in (404, 410):
                raise NoSuchBlob(f"the farm no longer has the content {sha256}")
            if status != 206:
                arriving.begin_anew()
            while arriving.size <= size and (block := response.read(_BLOCK)):
                arriving.write(block)
        if arriving.size < size:
            raise _TryAgain(f"{arriving.size} of {size} bytes arrived")
        if arriving.size > size or arriving.digest.hexdigest() != sha256:
            raise CannotRun(
                f"what the master sent for the content {sha256} is something else; its "
                "blob folder is damaged"
            )

    @contextlib.contextmanager
    def _answer(
        self,
        method: str,
        url: str,
        body: BinaryIO | None = None,
        headers: dict[str, str] | None = None,
    ) -> Iterator[HTTPResponse]:
        from urllib.parse import urlsplit

        parts = urlsplit(url)
        line = _line(parts.scheme, parts.hostname or "", parts.port, self._trust)
        try:
            path = parts.path + (f"?{parts.query}" if parts.query else "")
            every = {"Authorization": f"Bearer {self._token}", **(headers or {})}
            line.request(method, path, body, every)
            yield line.getresponse()
        finally:
            line.close()


class _Arriving:
    """A file on its way here; what has arrived is not asked for again."""

    def __init__(self, file: BinaryIO, path: Path) -> None:
        self._file = file
        self._path = path
        self.begin_anew()

    def begin_anew(self) -> None:
        import hashlib

        self._file.seek(0)
        self._file.truncate()
        self.size = 0
        self.digest = hashlib.sha256()

    def write(self, block: bytes) -> None:
        write_all(self._file, block, self._path)
        self.size += len(block)
        self.digest.update(block)


def _line(scheme: str, host: str, port: int | None, trust: Trust) -> HTTPConnection:
    """A connection to ``host``, opened if that is how its trust is checked."""
    from http.client import HTTPConnection, HTTPSConnection

    if scheme != "https":
        return HTTPConnection(host, port, timeout=_TIMEOUT, blocksize=_BLOCK)
    import ssl

    context = ssl.create_default_context(cafile=trust.ca_file)
    if trust.fingerprint is not None:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    line = HTTPSConnection(host, port, timeout=_TIMEOUT, blocksize=_BLOCK, context=context)
    if trust.fingerprint is not None:
        line.connect()
        _check_fingerprint(line.sock.getpeercert(True), trust.fingerprint)
    return line


def _check_fingerprint(certificate: bytes | None, expected: str) -> None:
    import hashlib

    if hashlib.sha256(certificate or b"").hexdigest() != fingerprint_of(expected):
        raise CannotRun(
            "the farm shows another certificate than the worker's master_fingerprint"
            " names; if the certificate was exchanged, tell the worker the new one"
        )


def _expect(response: HTTPResponse, url: str, *expected: int) -> int:
    if response.status in expected:
        return response.status
    if response.status >= 500 or response.status in (408, 429):
        raise _TryAgain(f"it answered {response.status} {response.reason}")
    if response.status == 413:
        raise CannotRun(f"the farm does not take a file: {_detail(response)}", final=True)
    raise CannotRun(
        f"the master answered {response.status} {response.reason} for {url}; "
        "the worker's order does not fit the master's configuration"
    )


def _detail(response: HTTPResponse) -> str:
    """The sentence in the answer."""
    import json

    try:
        return str(json.loads(response.read(_BLOCK))["detail"])
    except (ValueError, TypeError, KeyError, OSError):
        return str(response.reason)


@contextlib.contextmanager
def plain_file(path: Path) -> Iterator[BufferedReader]:
    """``path`` opened for reading, if it is a regular file and no link; else OSError."""
    # Without O_NONBLOCK a pipe would make us wait for somebody who writes into it.
    opened = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    with open(opened, "rb") as stream:
        if not stat.S_ISREG(os.fstat(stream.fileno()).st_mode):
            raise OSError(f"{path} is no regular file")
        yield stream


def write_all(file: BinaryIO, data: bytes, path: Path) -> None:
    """Write ``data``; an OSError names ``path``, so that it is not taken for the line's."""
    try:
        file.write(data)
        file.flush()
    except OSError as error:
        error.filename = str(path)
        raise

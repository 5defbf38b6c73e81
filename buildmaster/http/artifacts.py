"""Files in and out, by their hash."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path

from buildmaster.blobs import BlobStore, DiskFull, TooLarge, Upload, WrongHash
from buildmaster.database import Database
from buildmaster.grants import Grant, Scope
from buildmaster.http.answers import Answer, Outlet
from buildmaster.http.call import Call, Head, Sink
from buildmaster.http.problems import Problem, bad_request, not_found
from buildmaster.http.ranges import Span, span_of
from buildmaster.http.scopes import Need, permit
from buildmaster.interrupted import Interrupted
from buildmaster.neighbours import Elsewhere, NeighbourAway
from buildmaster.store.artifacts import (
    is_artifact,
    is_current_attempt,
    is_source_of,
    record_blob,
    size_of_project,
)

_PIECE = 256 * 1024
#: How many bytes of a file that was being sent are here.
OFFSET = "Upload-Offset"
_PART = re.compile(r"bytes ([0-9]{1,18})-([0-9]{1,18})/([0-9]{1,18})\Z")


class BlobSink:
    """Puts an upload among the blobs while it arrives; ``broken_off`` gets what is left."""

    def __init__(self, upload: Upload, broken_off: Callable[[Upload], None]) -> None:
        self.upload = upload
        self._broken_off = broken_off

    def write(self, data: bytes) -> None:
        try:
            self.upload.write(data)
        except (DiskFull, TooLarge) as error:
            raise _refused(error) from error

    def abort(self) -> None:
        if not self.upload.is_over:
            self._broken_off(self.upload)


class KnownSink:
    """Takes an upload of what is there already, and only looks whether it is the same."""

    def __init__(self, sha256: str) -> None:
        self._sha256 = sha256
        self._hash = hashlib.sha256()

    def write(self, data: bytes) -> None:
        self._hash.update(data)

    def is_the_same(self) -> bool:
        return self._hash.hexdigest() == self._sha256

    def abort(self) -> None:
        pass


class Artifacts:
    """Answers /api/v1/artifacts/SHA256."""

    def __init__(
        self,
        database: Database,
        blobs: BlobStore,
        interrupted: Interrupted,
        elsewhere: Elsewhere | None = None,
        quota: int | None = None,
    ) -> None:
        self._database = database
        self._blobs = blobs
        self._interrupted = interrupted
        self._elsewhere = elsewhere
        self._quota = quota

    def open(self, call: Call) -> Sink:
        """Where the body of a PUT goes; called before it arrives."""
        sha256 = call.parts["sha256"]
        if self._blobs.path(sha256) is not None:
            return KnownSink(sha256)
        who = _who(call)
        try:
            return BlobSink(
                self._upload(call, who, sha256),
                lambda upload: self._interrupted.keep(who, sha256, upload),
            )
        except (DiskFull, TooLarge) as error:
            raise _refused(error) from error

    def _upload(self, call: Call, who: str, sha256: str) -> Upload:
        """A new one, or one that broke off where this body goes on."""
        place = _place(call.head)
        if place == 0:
            return self._blobs.open_upload(sha256)
        there = self._interrupted.size(who, sha256)
        if place != there:
            raise Problem(
                409,
                "other_place",
                f"of this file {there} bytes are here: go on there",
                headers={OFFSET: str(there)},
            )
        return self._interrupted.take(who, sha256)

    async def put(self, call: Call) -> Answer:
        """PUT: the body has arrived; keep it if it is what its name says."""
        call.query.allow()
        sha256, sink = call.parts["sha256"], call.body
        try:
            await self._check_attempt(call.grant)
            if isinstance(sink, BlobSink):
                await self._check_quota(call.grant, sink.upload.size)
        except Problem:
            if isinstance(sink, BlobSink):
                sink.upload.abort()  # Nobody is to go on with it.
            raise
        if isinstance(sink, KnownSink):
            path = self._blobs.path(sha256)
            if path is None:
                raise Problem(
                    409, "gone_meanwhile", "the file was just removed; send it again"
                )
            if not sink.is_the_same():
                raise _wrong_hash()
            status, size = 200, path.stat().st_size
        else:
            assert isinstance(sink, BlobSink)
            status, size = 201, await self._commit(sink)
        await record_blob(self._database, sha256, size)
        return Answer(status, b'{"sha256":"%s","size":%d}' % (sha256.encode(), size))

    async def _check_quota(self, grant: Grant | None, size: int) -> None:
        attempt = None if grant is None else grant.attempt
        if self._quota is None or attempt is None:
            return
        taken = await size_of_project(self._database, attempt.job)
        if taken + size > self._quota:
            raise Problem(
                413,
                "quota",
                f"the files of this build's repository take {taken} bytes, and {size}"
                f" more are over its quota of {self._quota}",
            )

    async def _commit(self, sink: BlobSink) -> int:
        try:
            return await sink.upload.commit()
        except WrongHash as error:
            raise _wrong_hash() from error
        except (DiskFull, TooLarge) as error:
            raise _refused(error) from error

    async def get(self, call: Call) -> Answer:
        """GET: the file, or a range of it."""
        call.query.allow()
        sha256 = call.parts["sha256"]
        await self._check_reader(call, sha256)
        path = self._blobs.path(sha256) or await self._from_elsewhere(call, sha256)
        if path is None:
            missing = not_found("artifact with this hash")
            if there := self._interrupted.size(_who(call), sha256):
                missing.headers[OFFSET] = str(there)
            raise missing
        etag = f'"{sha256}"'
        headers = {
            "Content-Disposition": f'attachment; filename="{sha256}"',
            "ETag": etag,
            "Cache-Control": "private, max-age=31536000, immutable",
        }
        if etag in (call.head.header("If-None-Match") or ""):
            return Answer(304, headers=headers)
        span = span_of(call.head, path.stat().st_size, etag)
        return Answer(
            span.status,
            content_type="application/octet-stream",
            headers={**headers, **span.headers()},
            stream=lambda outlet: _send(path, span, outlet),
        )

    async def _from_elsewhere(self, call: Call, sha256: str) -> Path | None:
        """The file, once it came from another master.

        Not where only its being here is asked for, nor for another master: two that lack
        the same file must not ask each other.
        """
        is_master = call.grant is not None and call.grant.file is not None
        if self._elsewhere is None or is_master or call.head.method == "HEAD":
            return None
        try:
            return await self._elsewhere.fetch(sha256)
        except NeighbourAway as error:
            raise Problem(
                503, "master_away", str(error), headers={"Retry-After": "10"}
            ) from error
        except (DiskFull, TooLarge) as error:
            raise _refused(error) from error

    async def _check_reader(self, call: Call, sha256: str) -> None:
        grant = call.grant
        if grant is not None and grant.file is not None:
            if grant.file.sha256 != sha256:
                raise Problem(403, "not_allowed", "this token is for another file")
            return
        if await is_artifact(self._database, sha256):
            return
        # Whether a file is there may be asked by whoever may send it.
        asks = call.head.method == "HEAD"
        permit(Need.STORE if asks else Need.FETCH, grant, open_reading=False)
        assert grant is not None
        await self._check_attempt(grant)
        if asks or grant.covers(Scope.ADMIN):
            return
        if grant.attempt is None or not await is_source_of(
            self._database, grant.attempt.job, sha256
        ):
            raise Problem(
                403, "not_allowed", "this file is neither an artifact nor this job's source"
            )

    async def _check_attempt(self, grant: Grant | None) -> None:
        attempt = None if grant is None else grant.attempt
        if attempt is not None and not await is_current_attempt(
            self._database, attempt.job, attempt.attempt
        ):
            raise Problem(
                403, "attempt_over", "the attempt of this token has ended; forget the files"
            )


def _who(call: Call) -> str:
    return call.grant.who if call.grant is not None else ""


def _place(head: Head) -> int:
    """Where in the file the body of a PUT begins; it goes to the file's end."""
    said = head.header("Content-Range")
    if said is None:
        return 0
    found = _PART.match(said)
    if found is None:
        raise bad_request("bad_range", "Content-Range here is: bytes FIRST-LAST/SIZE")
    first, last, size = map(int, found.groups())
    if last + 1 != size or size - first != head.length:
        raise bad_request("bad_range", "a part goes to the end of the file, and is whole")
    return first


async def _send(path: Path, span: Span, outlet: Outlet) -> None:
    left = span.length
    with path.open("rb") as file:
        file.seek(span.first)
        while left:
            data = file.read(min(_PIECE, left))
            if not data:
                raise EOFError(f"{path} is shorter than it was")
            left -= len(data)
            await outlet.write(data)


def _wrong_hash() -> Problem:
    return Problem(
        422,
        "wrong_hash",
        "what arrived has another SHA-256 than its address; send it again",
    )


def _refused(error: DiskFull | TooLarge) -> Problem:
    if isinstance(error, DiskFull):
        return Problem(507, "disk_full", str(error))
    return Problem(413, "too_large", str(error))

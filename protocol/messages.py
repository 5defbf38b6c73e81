"""The messages, and the one way to write each as bytes.

Every message is frozen. `decode` accepts only what its type allows, with bounds on every
string, list and number, and raises `BadMessage` for anything else: the peer's fault.
"""

from __future__ import annotations

from typing import Annotated, Literal, TypeVar

import msgspec
from msgspec import Meta

from protocol.order import Order
from protocol.results import Result

#: Bytes of an encoded message. PB refuses strings of more than 640 KiB; an order with a
#: whole expanded pipeline is the largest message there is.
FRAME_LIMIT = 600 * 1024

Identifier = Annotated[int, Meta(ge=1, le=2**62)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Sentence = Annotated[str, Meta(max_length=4000)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]
#: Compressed bytes of a log chunk.
Compressed = Annotated[bytes, Meta(max_length=400 * 1024)]


class Attempt(msgspec.Struct, frozen=True):
    """The fencing token: which try of which job."""

    job: Identifier
    attempt: Identifier


class Offer(msgspec.Struct, frozen=True, kw_only=True):
    """One kind of environment that a worker can make."""

    isolation: Literal["native", "chroot", "vm"]
    architecture: Name
    series: Annotated[tuple[Name, ...], Meta(max_length=200)]  #: ("*",) is any series


class Holding(msgspec.Struct, frozen=True, kw_only=True):
    """An attempt that a worker has on its disk."""

    job: Identifier
    attempt: Identifier
    lives: bool  #: its supervisor process is alive; False with reports left to send


class Hello(msgspec.Struct, frozen=True, kw_only=True, tag="hello", tag_field="type"):
    """Worker to master, once, before anything else."""

    oldest_version: Count
    newest_version: Count
    worker: Name
    token: Name
    boot: Name  #: changes when the worker's host restarts
    software: Name
    offers: Annotated[tuple[Offer, ...], Meta(max_length=100)]
    tags: Annotated[tuple[Name, ...], Meta(max_length=100)] = ()
    slots: Annotated[int, Meta(ge=0, le=10_000)]
    holding: Annotated[tuple[Holding, ...], Meta(max_length=10_000)] = ()


class Recorded(msgspec.Struct, frozen=True, kw_only=True, tag="recorded", tag_field="type"):
    """Master to worker: every report up to ``number`` is in the database."""

    job: Identifier
    attempt: Identifier
    number: Count


class Welcome(msgspec.Struct, frozen=True, kw_only=True, tag="welcome", tag_field="type"):
    """Master to worker: the session is open; here is where each attempt stands."""

    version: Count
    session: Name
    master: Name
    heartbeat: Annotated[float, Meta(gt=0, le=3600)]  #: seconds between ``alive``
    recorded: tuple[Recorded, ...] = ()
    forget: tuple[Attempt, ...] = ()


class Goodbye(msgspec.Struct, frozen=True, kw_only=True, tag="goodbye", tag_field="type"):
    """Master to worker: no session, and why; the line closes."""

    reason: Sentence
    retry: bool  #: whether asking again later can help


class Start(msgspec.Struct, frozen=True, kw_only=True, tag="start", tag_field="type"):
    """Master to worker: run this."""

    order: Order


class Accepted(msgspec.Struct, frozen=True, kw_only=True, tag="accepted", tag_field="type"):
    """Worker to master: the order is on disk and its supervisor starts."""

    job: Identifier
    attempt: Identifier


class Refused(msgspec.Struct, frozen=True, kw_only=True, tag="refused", tag_field="type"):
    """Worker to master: this worker cannot take the order; nothing was started."""

    job: Identifier
    attempt: Identifier
    reason: Sentence


class LogChunk(
    msgspec.Struct, frozen=True, kw_only=True, tag="log-chunk", tag_field="type"
):
    """Bytes of the attempt's log, one zstandard frame for each chunk.

    ``start`` and ``length`` count uncompressed bytes; chunks of an attempt follow each
    other without gaps. A chunk belongs to one pipeline job, or to none (preparation).
    """

    start: Count
    length: Annotated[int, Meta(ge=1, le=256 * 1024)]
    data: Compressed
    name: Name | None = None
    index: Count | None = None


class PipelineJobStarted(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="pipeline-job-started",
    tag_field="type",
):
    """A pipeline job begins; ``at`` is the worker's clock, seconds since 1970."""

    name: Name
    index: Count
    at: float


class FileMade(msgspec.Struct, frozen=True, kw_only=True):
    """A file that a pipeline job made, already among the master's blobs."""

    path: Annotated[str, Meta(min_length=1, max_length=4000)]  #: relative, no ``..``
    sha256: Hash
    size: Count


class PipelineJobEnded(
    msgspec.Struct,
    frozen=True,
    kw_only=True,
    tag="pipeline-job-ended",
    tag_field="type",
):
    """A pipeline job ended. ``unrun`` ones are told, too, so that none is forgotten."""

    name: Name
    index: Count
    at: float
    result: Result
    reason: Sentence = ""  #: empty for success; else a sentence that says whose fault
    exit_status: int | None = None
    properties: dict[str, object] | None = None
    files: Annotated[tuple[FileMade, ...], Meta(max_length=5000)] = ()


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended", tag_field="type"):
    """The attempt is over; the last of its reports.

    ``final`` with the result ``error``: another try, also elsewhere, would end the same.
    """

    at: float
    result: Result
    reason: Sentence = ""
    final: bool = False


ReportBody = LogChunk | PipelineJobStarted | PipelineJobEnded | Ended


class Report(msgspec.Struct, frozen=True, kw_only=True, tag="report", tag_field="type"):
    """Worker to master: one thing an attempt has to tell, in its place."""

    job: Identifier
    attempt: Identifier
    number: Identifier
    body: ReportBody


class Forget(msgspec.Struct, frozen=True, kw_only=True, tag="forget", tag_field="type"):
    """Master to worker: this attempt no longer counts; kill it and remove its traces."""

    job: Identifier
    attempt: Identifier


class Cancel(msgspec.Struct, frozen=True, kw_only=True, tag="cancel", tag_field="type"):
    """Master to worker: end this attempt; report its end as cancelled."""

    job: Identifier
    attempt: Identifier
    why: Sentence


class Alive(msgspec.Struct, frozen=True, kw_only=True, tag="alive", tag_field="type"):
    """Either way: I am here. From a worker, with the attempts whose lease it renews."""

    holding: Annotated[tuple[Holding, ...], Meta(max_length=10_000)] = ()


FromWorker = Hello | Accepted | Refused | Report | Alive
FromMaster = Welcome | Goodbye | Start | Recorded | Forget | Cancel | Alive
Message = (
    Hello
    | Welcome
    | Goodbye
    | Start
    | Accepted
    | Refused
    | Report
    | Recorded
    | Forget
    | Cancel
    | Alive
)


class BadMessage(Exception):
    """The peer sent bytes that are no message; its fault, and the line is closed."""


M = TypeVar("M")

_encoder = msgspec.msgpack.Encoder()
_from_worker: msgspec.msgpack.Decoder[FromWorker] = msgspec.msgpack.Decoder(FromWorker)
_from_master: msgspec.msgpack.Decoder[FromMaster] = msgspec.msgpack.Decoder(FromMaster)


def encode(message: Message) -> bytes:
    """The frame for ``message``."""
    return _encoder.encode(message)


def decode_from_worker(frame: bytes) -> FromWorker:
    """The message that a worker put into ``frame``, or `BadMessage`."""
    return _decode(_from_worker, frame)


def decode_from_master(frame: bytes) -> FromMaster:
    """The message that a master put into ``frame``, or `BadMessage`."""
    return _decode(_from_master, frame)


def _decode(decoder: msgspec.msgpack.Decoder[M], frame: bytes) -> M:
    if len(frame) > FRAME_LIMIT:
        raise BadMessage(f"a frame of {len(frame)} bytes; {FRAME_LIMIT} are allowed")
    try:
        return decoder.decode(frame)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadMessage(f"not a message: {error}") from error

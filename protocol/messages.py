"""The messages, and the one way to write each as bytes.

Every message is frozen. A frame holds one, or an array of several: `bundle` and
`encode_all` put them in, `decode_from_worker` and `decode_from_master` take them out. They
accept only what a message's type allows, with bounds on every string, list and number,
and raise `BadMessage` for anything else: the peer's fault.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Annotated, Any, Literal, TypeVar

import msgspec
from msgspec import Meta

from protocol.order import LONGEST_LINGER, AnyOrder, Order, check_object
from protocol.results import Result

#: Bytes of a frame. PB refuses strings of more than 640 KiB; an order with a whole
#: expanded pipeline is the largest message there is.
FRAME_LIMIT = 600 * 1024
#: Messages in a frame.
FRAME_MESSAGES = 1000

Identifier = Annotated[int, Meta(ge=1, le=2**62)]
Name = Annotated[str, Meta(min_length=1, max_length=200)]
Sentence = Annotated[str, Meta(max_length=4000)]
Count = Annotated[int, Meta(ge=0, le=2**53)]
Hash = Annotated[str, Meta(pattern="^[0-9a-f]{64}\\Z")]
#: A SHA-256, unless an operator made an image by hand and called it something else.
ImageKey = Annotated[str, Meta(pattern="^([A-Za-z0-9][A-Za-z0-9._+-]{0,199})?\\Z")]
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
    # Since version 2.
    performs: Annotated[tuple[Name, ...], Meta(max_length=1000)] = ()  #: native jobs
    #: Further tags, for which it takes only jobs that ask for all of them.
    restricted_tags: Annotated[tuple[Name, ...], Meta(max_length=100)] = ()
    # What its jobs may take together; None: it does not say.
    cpu: Count | None = None  #: cores
    memory: Count | None = None  #: MiB
    disk: Count | None = None  #: MiB
    # Later.
    #: What it takes of an order that older workers leave aside: `protocol.order.TAKEN`.
    takes: Annotated[tuple[Name, ...], Meta(max_length=100)] = ()


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
    #: The URL below which files go from now on, also those of orders of other masters.
    files: Annotated[str, Meta(max_length=2000)] | None = None


class Goodbye(msgspec.Struct, frozen=True, kw_only=True, tag="goodbye", tag_field="type"):
    """Master to worker: no session, and why; the line closes."""

    reason: Sentence
    retry: bool  #: whether asking again later can help


class Start(msgspec.Struct, frozen=True, kw_only=True, tag="start", tag_field="type"):
    """Master to worker: run this. Only a worker that ``performs`` gets a native order."""

    order: AnyOrder


class Accepted(msgspec.Struct, frozen=True, kw_only=True, tag="accepted", tag_field="type"):
    """Worker to master: it has the order, a build's on its disk, and begins."""

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

    def __post_init__(self) -> None:
        """A decoder makes a `BadMessage` of the ValueError: it is put where others look."""
        parts = self.path.split("/")
        if "\0" in self.path or any(part in ("", ".", "..") for part in parts):
            raise ValueError("the path of a file that was made leads elsewhere")


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
    #: Key of the image that its environment was made of, a SHA-256; "": of none.
    image: ImageKey = ""
    #: Seconds from now for which its environment lingers.
    lingers: Annotated[float, Meta(gt=0, le=LONGEST_LINGER)] | None = None


class Ended(msgspec.Struct, frozen=True, kw_only=True, tag="ended", tag_field="type"):
    """The attempt is over; the last of its reports.

    ``final`` with the result ``error``: another try, also elsewhere, would end the same.
    The rest is of native jobs. As the first report of all it stands for ``accepted``, too.
    """

    at: float
    result: Result
    reason: Sentence = ""
    final: bool = False
    output: dict[str, Any] | None = None  #: the JSON object that it returned
    #: Of a command or of the process that ran it; minus the signal that ended it.
    exit_status: Annotated[int, Meta(ge=-255, le=255)] | None = None
    seconds: Annotated[float, Meta(ge=0, le=1e9)] | None = None  #: how long it ran

    def __post_init__(self) -> None:
        """A decoder makes a `BadMessage` of the ValueError."""
        if self.output:
            check_object(self.output)


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


class _StartOfBuild(
    msgspec.Struct, frozen=True, kw_only=True, tag="start", tag_field="type"
):
    """As masters of version 1 say it: the order does not tell its kind."""

    order: Order


M = TypeVar("M")

#: Bytes before the elements of a msgpack array of up to 65,535.
_ARRAY_HEAD = 3
_Several = Meta(min_length=1, max_length=FRAME_MESSAGES)
_encoder = msgspec.msgpack.Encoder()
_from_worker: msgspec.msgpack.Decoder[FromWorker | tuple[FromWorker, ...]] = (
    msgspec.msgpack.Decoder(FromWorker | Annotated[tuple[FromWorker, ...], _Several])
)
_from_master: msgspec.msgpack.Decoder[FromMaster | tuple[FromMaster, ...]] = (
    msgspec.msgpack.Decoder(FromMaster | Annotated[tuple[FromMaster, ...], _Several])
)
_start_of_build = msgspec.msgpack.Decoder(_StartOfBuild)


def encode(message: Message) -> bytes:
    """``message`` as bytes: a frame of its own, or one piece for `bundle`."""
    return _encoder.encode(message)


def encode_all(messages: Iterable[Message]) -> list[bytes]:
    """Frames for ``messages``, in their order, as few as the limits allow."""
    return bundle(map(_encoder.encode, messages))


def bundle(encoded: Iterable[bytes]) -> list[bytes]:
    """Frames for messages that are bytes already; as `encode_all`."""
    frames: list[bytes] = []
    pieces: list[bytes] = []
    size = _ARRAY_HEAD
    for piece in encoded:
        if pieces and (size + len(piece) > FRAME_LIMIT or len(pieces) == FRAME_MESSAGES):
            frames.append(_frame(pieces))
            pieces, size = [], _ARRAY_HEAD
        pieces.append(piece)
        size += len(piece)
    if pieces:
        frames.append(_frame(pieces))
    return frames


def _frame(pieces: list[bytes]) -> bytes:
    if len(pieces) == 1:
        return pieces[0]
    return b"".join((b"\xdc", len(pieces).to_bytes(2, "big"), *pieces))


def decode_from_worker(frame: bytes) -> tuple[FromWorker, ...]:
    """The messages that a worker put into ``frame``, or `BadMessage`."""
    messages = _decode(_from_worker, frame)
    return messages if isinstance(messages, tuple) else (messages,)


def decode_from_master(frame: bytes) -> tuple[FromMaster, ...]:
    """The messages that a master put into ``frame``, or `BadMessage`."""
    try:
        messages = _decode(_from_master, frame)
    except BadMessage:
        start = _started_by_version_1(frame)
        if start is None:
            raise
        return (start,)
    return messages if isinstance(messages, tuple) else (messages,)


def _started_by_version_1(frame: bytes) -> Start | None:
    try:
        return Start(order=_decode(_start_of_build, frame).order)
    except BadMessage:
        return None


def _decode(decoder: msgspec.msgpack.Decoder[M], frame: bytes) -> M:
    if len(frame) > FRAME_LIMIT:
        raise BadMessage(f"a frame of {len(frame)} bytes; {FRAME_LIMIT} are allowed")
    try:
        return decoder.decode(frame)
    except (msgspec.DecodeError, RecursionError) as error:
        raise BadMessage(f"not a message: {error}") from error

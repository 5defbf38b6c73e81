"""An order: all that a worker must know to run one attempt of a job.

The master writes it into a ``start`` message. That of a build the worker puts on its
disk as JSON, and the supervisor process of the attempt works from that file alone; that
of a native job it keeps in memory.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from protocol.pipeline.model import License, PipelineJob
from protocol.stages import Stages

#: Bytes that a JSON object from or for a native job may take, written as JSON.
OBJECT_LIMIT = 64 * 1024
#: What orders came to hold that the first workers do not know, and would leave aside: the
#: files and variables of a node (``handed``, ``variables``).
HANDED_FILES = "handed-files"
#: What workers of this release take of it; told in ``hello``.
TAKEN = (HANDED_FILES,)
#: Seconds: a week.
LONGEST_LINGER = 7 * 86400.0


class GitSource(msgspec.Struct, frozen=True, kw_only=True, tag="git", tag_field="kind"):
    """A commit of a git repository, cloned by the worker."""

    repository: str  #: URL, or an absolute path where the master allowed one
    commit: str  #: 40 or 64 hexadecimal digits


class TreeSource(msgspec.Struct, frozen=True, kw_only=True, tag="tree", tag_field="kind"):
    """A work tree that somebody sent: a tar archive among the farm's blobs."""

    url: str  #: where the worker fetches the archive from the master
    sha256: str
    size: int  #: bytes


class Limits(msgspec.Struct, frozen=True, kw_only=True):
    """Seconds an attempt may take; None is no limit."""

    run: float | None = None  #: the whole attempt
    idle: float | None = None  #: without a byte of output


class Artifacts(msgspec.Struct, frozen=True, kw_only=True):
    """Where the worker puts files that pipeline jobs made, and what lets it."""

    url: str  #: PUT {url}/{sha256}
    token: str


class KeptFile(msgspec.Struct, frozen=True, kw_only=True):
    """A file that an earlier attempt made, to be fetched from the master's blobs."""

    path: str
    sha256: str
    size: int


class KeptJob(msgspec.Struct, frozen=True, kw_only=True):
    """A pipeline job that passed before: not run again, its output can be restored."""

    name: str
    index: int
    properties: dict[str, Any] | None = None
    files: tuple[KeptFile, ...] = ()


class HandedOver(msgspec.Struct, frozen=True, kw_only=True):
    """Files of jobs that a node waited for, to be found in one folder."""

    job: str  #: whose they are, as the node's needs name it
    files: tuple[KeptFile, ...] = ()  #: paths from that folder

    @property
    def variable(self) -> str:
        """The variable that names the folder: CI_INPUT_<JOB>."""
        return f"CI_INPUT_{variable_part(self.job)}"


def variable_part(name: str) -> str:
    """``name`` as a part of a variable's name: capitals, digits and ``_``."""
    known = "ABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789"
    return "".join(char if char in known else "_" for char in name.upper())


class Order(msgspec.Struct, frozen=True, kw_only=True, tag="build", tag_field="kind"):
    """One attempt of a build."""

    job: int
    attempt: int
    trusted: bool = True  #: whether whoever wrote it may do as the worker itself may
    isolation: Literal["native", "chroot", "vm"]
    architecture: str
    series: str  #: newest of the build's series; each pipeline job names its own
    source: GitSource | TreeSource
    project: str  #: short name of the source for people: the last part of its URL or path
    stages: Stages
    stage_numbers: tuple[int, ...]  #: of each stage, its index in the file's pipeline
    jobs: dict[str, tuple[PipelineJob, ...]]  #: concrete jobs of every name in ``stages``
    license: License | None = None
    kept: tuple[KeptJob, ...] = ()
    upstream: tuple[KeptJob, ...] = ()  #: what other builds made that this one waited for
    handed: tuple[HandedOver, ...] = ()  #: what nodes made that this one waited for
    variables: dict[str, str] = {}  #: what every command finds in its environment
    artifacts: Artifacts
    limits: Limits = Limits()
    fence_after: float  #: seconds without renewal after which the supervisor must kill
    #: Seconds for which the environment of a pipeline job that fails lingers.
    linger: Annotated[float, Meta(gt=0, le=LONGEST_LINGER)] | None = None


class NativeOrder(
    msgspec.Struct, frozen=True, kw_only=True, tag="native", tag_field="kind"
):
    """One attempt of a native job: a callable or a command that the worker has."""

    job: Annotated[int, Meta(ge=1, le=2**62)]
    attempt: Annotated[int, Meta(ge=1, le=2**62)]
    performs: Annotated[str, Meta(min_length=1, max_length=200)]  #: its registered name
    arguments: dict[str, Any] = {}  #: a JSON object
    limits: Limits = Limits()
    artifacts: Artifacts | None = None  #: where it puts files, if it may store any
    #: Seconds without renewal of its lease after which the worker must stop it.
    fence_after: float | None = None

    def __post_init__(self) -> None:
        """A decoder makes a `BadMessage` of the ValueError."""
        if self.arguments:
            check_object(self.arguments)


AnyOrder = Order | NativeOrder


def check_object(value: dict[str, Any]) -> None:
    """Raise ValueError, with half a sentence, unless ``value`` is JSON and not too large.

    What only looks like JSON (NaN, bytes, keys that are numbers) would come out of the
    database as something else than what went in.
    """
    try:
        written = msgspec.json.encode(value)
    except (TypeError, ValueError, OverflowError, RecursionError) as error:
        raise ValueError(f"it is not JSON: {error}") from error
    if len(written) > OBJECT_LIMIT:
        raise ValueError(
            f"it takes {len(written)} bytes written as JSON; {OBJECT_LIMIT} are allowed"
        )
    if msgspec.json.decode(written) != value:
        raise ValueError("it holds what JSON cannot express")

"""What a farm is asked about nodes that are not there yet, and what it knows of their keys.

No method of `IStatus`: a question is too long for an address, and nothing tells when its
answer changes. Over HTTP it is POST /api/v1/keys, over PB ``keys``.
"""

from __future__ import annotations

from typing import Annotated

import msgspec
from msgspec import Meta

from buildmaster.status.documents import Isolation, Moment
from buildmaster.status.questions import JobResult, JobState
from protocol.messages import Offer

#: Nodes of one question.
MOST_NODES = 1000
#: Jobs of a node's name that are looked at for one to compare it with.
LOOKED_AT = 100

_Hash = Annotated[str, Meta(pattern=r"^[0-9a-f]{64}\Z")]
_Text = Annotated[str, Meta(max_length=2000, pattern=r"^[^\x00]*\Z")]


class AskedNode(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A node as it would be queued."""

    key: _Hash  #: as far as it is known before anything runs
    base: _Hash  #: the same without what it builds upon
    configuration: _Hash  #: the SHA-256 of what it would run
    name: _Text
    cell: _Text = ""
    part: Annotated[int, Meta(ge=0, le=10_000)] = 0
    environment: _Text  #: isolation/architecture/series


class AskedKeys(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The body of POST /api/v1/keys."""

    nodes: Annotated[tuple[AskedNode, ...], Meta(max_length=MOST_NODES)] = ()
    #: Where earlier nodes of a name are looked for; none: anywhere.
    repositories: Annotated[tuple[_Text, ...], Meta(max_length=10)] = ()


class Passed(msgspec.Struct, frozen=True, kw_only=True):
    """The newest job that passed with a node's key."""

    job: int
    attempt: int
    run: int  #: the first one that it belongs to
    repository: str | None
    finished_at: Moment
    same_image: bool  #: as its environment has now; without it the result says nothing
    stands: bool  #: of a component: in these repositories no other one was published since


class ComparedNode(msgspec.Struct, frozen=True, kw_only=True):
    """An earlier node of the same name and cell: of the same key, or one that passed."""

    job: int
    run: int
    state: JobState
    result: JobResult | None
    finished_at: Moment | None
    same_key: bool
    same_base: bool
    same_configuration: bool
    environment: str


class KnownNode(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of one node; of what is usable, ``before`` is not told."""

    passed: Passed | None
    before: ComparedNode | None


class KnownKeys(msgspec.Struct, frozen=True, kw_only=True):
    """The answer. It holds nothing that the asker may not see."""

    isolation: Isolation  #: where jobs run that do not say
    offers: tuple[Offer, ...]  #: what workers can run
    nodes: tuple[KnownNode, ...]  #: in the order of the question

"""What can be asked of the status: one frozen type for the parameters of each method.

The names are those of the query parameters in HTTP, of the keywords in PB and of the
options of ``headrace status``; lists are written with commas there. What a type forbids is
refused before the database hears of it.
"""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

#: Rows of a page when the reader does not say, and at most.
DEFAULT_LIMIT = 100
LARGEST_LIMIT = 1000
#: The largest id that PostgreSQL's bigint holds.
LARGEST_ID = 2**63 - 1

#: Equal to the ``job_state``, ``job_result`` and ``run_state`` types of the database.
JobState = Literal["waiting", "ready", "assigned", "running", "parked", "done"]
RunState = Literal["open", "sealed", "done"]
WorkflowState = Literal["open", "parked", "done"]
Classification = Literal["known_issue", "infrastructure", "flaky"]
JobResult = Literal[
    "success",
    "reused",
    "skipped",
    "failure",
    "error",
    "timeout",
    "malformed",
    "unrun",
    "cancelled",
]

Id = Annotated[int, Meta(ge=1, le=LARGEST_ID, description="an id")]
# No NUL, which no text in the database has.
Text = Annotated[
    str, Meta(max_length=2000, pattern=r"^[^\x00]*$", description="a text, compared whole")
]
Time = Annotated[
    str,
    Meta(
        pattern=r"^20[0-9]{2}-[0-9]{2}-[0-9]{2}(T[0-9]{2}:[0-9]{2}(:[0-9.]{2,9})?)?Z?$",
        description="a time in UTC, as 2026-01-31T12:00:00Z",
    ),
]
Limit = Annotated[int, Meta(ge=1, le=LARGEST_LIMIT, description="entries of a page")]
Field = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_]{0,60}$")]
Fields = Annotated[
    tuple[Field, ...],
    Meta(max_length=60, description="only these fields of each entry; none: all"),
]
Cursor = Annotated[
    str,
    Meta(pattern=r"^[0-9]{1,19}-[0-9]{1,19}$", description="the id of an event"),
]
Since = Annotated[
    str,
    Meta(
        max_length=60,
        pattern=r"^[^\x00]*$",
        description="after this event, as its id or a document's cursor names it",
    ),
]
NameAfter = Annotated[
    str,
    Meta(
        max_length=2000,
        pattern=r"^[^\x00]*$",
        description="the page begins after this one: 'next' of the page before",
    ),
]
IdAfter = Annotated[
    int,
    Meta(
        ge=1,
        le=LARGEST_ID,
        description="the page begins after this one: 'next' of the page before",
    ),
]
ById = Annotated[
    Literal["-id", "id"], Meta(description="newest first (-id), or oldest first (id)")
]
ByName = Annotated[
    Literal["name", "-name"], Meta(description="by name, or the other way round (-name)")
]


class Question(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The parameters of one method."""


class Nothing(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """No parameters."""


class OneRun(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A run."""

    run: Id


class OneJob(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job."""

    job: Id


class OneWorker(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A worker."""

    worker: Text


class Runs(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Runs, page by page. What is given must all be so."""

    state: Annotated[
        tuple[RunState, ...], Meta(max_length=9, description="in one of these states")
    ] = ()
    result: Annotated[
        tuple[JobResult, ...], Meta(max_length=9, description="ended as one of these")
    ] = ()
    repository: Text | None = None
    source_digest: Text | None = None
    owner: Text | None = None
    requester: Text | None = None
    order: ById = "-id"
    after: IdAfter | None = None
    limit: Limit = DEFAULT_LIMIT
    fields: Fields = ()


class Jobs(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Jobs and builds together, page by page. What is given must all be so."""

    run: Id | None = None
    state: Annotated[
        tuple[JobState, ...], Meta(max_length=9, description="in one of these states")
    ] = ()
    result: Annotated[
        tuple[JobResult, ...], Meta(max_length=9, description="ended as one of these")
    ] = ()
    classification: Annotated[
        tuple[Classification | Literal["none"], ...],
        Meta(max_length=9, description="failures of these classes; none: of no class yet"),
    ] = ()
    kind: Text | None = None
    name: Text | None = None
    repository: Text | None = None
    source_digest: Text | None = None
    owner: Text | None = None
    architecture: Text | None = None
    worker: (
        Annotated[
            str,
            Meta(
                max_length=2000,
                pattern=r"^[^\x00]*$",
                description="whose current attempt is, or was, with this worker",
            ),
        ]
        | None
    ) = None
    order: ById = "-id"
    after: IdAfter | None = None
    limit: Limit = DEFAULT_LIMIT
    fields: Fields = ()


class Workers(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Workers, page by page."""

    state: Annotated[
        tuple[Literal["connected", "unreachable", "offline"], ...],
        Meta(max_length=9, description="in one of these states"),
    ] = ()
    duty: Annotated[
        tuple[Literal["active", "paused", "draining", "retired"], ...],
        Meta(max_length=9, description="with one of these duties"),
    ] = ()
    order: ByName = "name"
    after: NameAfter | None = None
    limit: Limit = LARGEST_LIMIT
    fields: Fields = ()


class Semaphores(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Semaphores, by name, page by page."""

    order: ByName = "name"
    after: NameAfter | None = None
    limit: Limit = LARGEST_LIMIT
    fields: Fields = ()


class Workflows(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Workflows, page by page. What is given must all be so."""

    state: Annotated[
        tuple[WorkflowState, ...], Meta(max_length=9, description="in one of these states")
    ] = ()
    result: Annotated[
        tuple[JobResult, ...], Meta(max_length=9, description="ended as one of these")
    ] = ()
    name: Text | None = None
    workflow_class: Text | None = None
    owner: Text | None = None
    order: ById = "-id"
    after: IdAfter | None = None
    limit: Limit = DEFAULT_LIMIT
    fields: Fields = ()


class OneWorkflow(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A workflow, by its name or its number."""

    workflow: Text


class WorkflowTimeline(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The history of a workflow, of its last generation without ``generation``."""

    workflow: Text
    generation: Annotated[int, Meta(ge=1, le=2**31 - 1)] | None = None
    after: (
        Annotated[
            int, Meta(ge=0, le=2**31 - 1, description="the page begins after this event")
        ]
        | None
    ) = None
    limit: Limit = DEFAULT_LIMIT


class Schedules(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Schedules, page by page, by name."""

    order: ByName = "name"
    after: NameAfter | None = None
    limit: Limit = DEFAULT_LIMIT
    fields: Fields = ()


class Rules(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Rules that classify failures, page by page."""

    order: ById = "id"
    after: IdAfter | None = None
    limit: Limit = LARGEST_LIMIT
    fields: Fields = ()


class Tokens(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Tokens of clients, by name, page by page."""

    order: ByName = "name"
    after: NameAfter | None = None
    limit: Limit = DEFAULT_LIMIT
    fields: Fields = ()


class Stays(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """People who are logged in, newest first, page by page."""

    who: Annotated[Text, Meta(description="of this name")] | None = None
    order: ById = "-id"
    after: IdAfter | None = None
    limit: Limit = DEFAULT_LIMIT
    fields: Fields = ()


class Audit(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What was done, newest first, page by page. What is given must all be so."""

    who: (
        Annotated[Text, Meta(description="by whom, as 'person ada' or 'token ci'")] | None
    ) = None
    act: (
        Annotated[
            str,
            Meta(
                max_length=60,
                pattern=r"^[a-z]+(\.[a-z]+)*$",
                description="what was done, as login or job.cancel",
            ),
        ]
        | None
    ) = None
    job: Annotated[Id, Meta(description="to this job")] | None = None
    run: Annotated[Id, Meta(description="to this run")] | None = None
    since: Annotated[Time, Meta(description="not before this time")] | None = None
    order: ById = "-id"
    after: IdAfter | None = None
    limit: Limit = DEFAULT_LIMIT
    fields: Fields = ()


class Forecasts(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """How good forecasts were, by class, page by page."""

    after: (
        Annotated[
            int,
            Meta(
                ge=1,
                le=2**31 - 1,
                description="the page begins after this class: its 'next'",
            ),
        ]
        | None
    ) = None
    limit: Limit = LARGEST_LIMIT


class Events(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Events, oldest first, from a place in the log on. What is given must all be so."""

    since: Since | None = None
    run: Id | None = None
    job: Id | None = None
    limit: Limit = DEFAULT_LIMIT


#: Runs of a grid when the reader does not say.
GRID_LIMIT = 200
#: Bars of a timeline, at most.
MOST_BARS = 10_000
#: Bytes of a log's end that a build shows when the reader does not say, and at most.
TAIL, LONGEST_TAIL = 16 * 1024, 256 * 1024

When = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{4}-(0[1-9]|1[0-2])-(0[1-9]|[12][0-9]|3[01])"
        r"T([01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](\.[0-9]{1,6})?Z$",
        description="a time in UTC, as 2026-01-31T12:00:00Z",
    ),
]
PlaceAfter = Annotated[
    str,
    Meta(
        pattern=r"^[0-9]{1,18}(-[0-9]{1,18}){1,2}$",
        description="the page begins after this place: 'next' of the page before",
    ),
]


class Grid(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Runs against their jobs, the newest runs first. What is given must all be so.

    ``architecture`` and ``kind`` choose cells, and with them the runs that have any.
    """

    repository: Text | None = None
    owner: Text | None = None
    architecture: Text | None = None
    kind: Text | None = None
    cells: Annotated[
        Literal["jobs", "pipeline_jobs"],
        Meta(description="what a cell is: a job, or a pipeline job of its current attempt"),
    ] = "jobs"
    after: IdAfter | None = None
    limit: Annotated[int, Meta(ge=1, le=LARGEST_LIMIT, description="runs of a page")] = (
        GRID_LIMIT
    )


class OneBuild(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """A job, with the end of a log of it."""

    job: Id
    attempt: (
        Annotated[int, Meta(ge=1, le=2**31 - 1, description="whose log; else the current")]
        | None
    ) = None
    tail: Annotated[
        int, Meta(ge=0, le=LONGEST_TAIL, description="bytes of the log's end, at most")
    ] = TAIL


class Queue(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The line, page by page, in its order. What is given must all be so.

    ``architecture`` chooses classes, and the line that places are counted in; the other
    filters only leave jobs out.
    """

    architecture: Text | None = None
    owner: Text | None = None
    kind: Text | None = None
    repository: Text | None = None
    after: PlaceAfter | None = None
    limit: Limit = DEFAULT_LIMIT


class Timeline(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What workers did from one time to another; without them, in the last hour."""

    since: When | None = None
    until: When | None = None
    worker: Text | None = None
    limit: Annotated[int, Meta(ge=1, le=MOST_BARS, description="bars, at most")] = MOST_BARS


class History(Question, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Attempts that ended, page by page. What is given must all be so."""

    name: Text | None = None
    repository: Text | None = None
    architecture: Text | None = None
    series: Text | None = None
    kind: Text | None = None
    owner: Text | None = None
    after: PlaceAfter | None = None
    limit: Limit = DEFAULT_LIMIT

"""The documents of the status that are no plain lists, as tables for a terminal."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any

from buildmaster.cli.console import Console
from buildmaster.cli.table import Column, moment, print_table, short_source
from buildmaster.cli.terminal import one_line

Document = Mapping[str, Any]

#: Columns of a grid that have room beside each other; more are shown as single marks.
_WIDE = 6
#: Characters of a heading.
_WIDEST_HEAD = 40
#: Pieces into which a timeline is cut.
_PIECES = 56

#: One mark for each way in which a cell can stand.
_MARKS = {
    "success": "+",
    "reused": "=",
    "skipped": "/",
    "failure": "F",
    "error": "E",
    "timeout": "T",
    "malformed": "M",
    "unrun": "u",
    "cancelled": "c",
    "waiting": ".",
    "ready": "o",
    "parked": "p",
    "assigned": ">",
    "running": ">",
}
_LEGEND = (
    "+ success  = reused  / skipped  F failure  E error  T timeout  M malformed"
    "  u unrun  c cancelled  . waiting  o ready  p parked  > running"
)


def print_document(name: str, console: Console, document: Document) -> bool:
    """Print the answer of the question ``name``; False if it has no table of its own."""
    printing = _PRINTED.get(name)
    if printing is None:
        return False
    printing(console, document)
    return True


def _grid(console: Console, document: Document) -> None:
    columns = document["columns"]
    heads = [one_line(_column_name(column))[:_WIDEST_HEAD] for column in columns]
    shown: list[Column] = [
        ("RUN", lambda row: row["run"]),
        ("SOURCE", short_source),
        ("NAME", lambda row: row["name"] or row["repository"]),
        ("RESULT", lambda row: row["result"] or row["state"]),
        ("CREATED", lambda row: moment(row["created_at"])),
    ]
    if len(columns) <= _WIDE:
        shown += [(head, _words_at(place)) for place, head in enumerate(heads)]
    else:
        shown.append(("CELLS", lambda row: _marks(row, len(columns))))
    _table(console, shown, document["rows"], "There are no runs of this sort.")
    if len(columns) > _WIDE:
        console.say(_LEGEND)
        for place, head in enumerate(heads, 1):
            console.say(f"{place:>4}  {head}")
    _more(console, document)


def _column_name(column: Document) -> str:
    name = column["name"] if column["index"] is None else _title(column)
    words = [name, column["architecture"], column["series"]]
    if column["part"]:
        words.append(f"part {column['part']}")
    return " ".join(filter(None, words))


def _title(column: Document) -> str:
    return f"{column['name']}:{column['index']}"


def _words_at(place: int) -> Callable[[Document], str]:
    def words(row: Document) -> str:
        found = [_words(cell) for cell in row["cells"] if cell[0] == place]
        return ", ".join(found)

    return words


def _words(cell: Sequence[Any]) -> str:
    _, job, state, result, _, _, classification, *_ = cell
    return f"{job} {classification or result or state}"


def _marks(row: Document, columns: int) -> str:
    marks = [" "] * columns
    for cell in row["cells"]:
        marks[cell[0]] = _MARKS.get(cell[3] or cell[2], "?")
    return "".join(marks)


def _graph(console: Console, document: Document) -> None:
    console.say(
        f"Run {document['id']}, {document['result'] or document['state']}:"
        f" {document['job_count']} jobs"
    )
    waits: dict[int, list[str]] = {}
    for edge in document["edges"]:
        stage = "" if edge["stage"] is None else f".{edge['stage']}"
        require = "" if edge["require"] == "good" else f" ({edge['require']})"
        waits.setdefault(edge["to"], []).append(f"{edge['from']}{stage}{require}")
    columns: list[Column] = [
        *_JOB,
        ("RESULT", lambda node: node["classification"] or node["result"] or node["state"]),
        ("WAITS FOR", lambda node: ", ".join(waits.get(node["id"], ())) or None),
        ("STAGES", lambda node: " | ".join(", ".join(s) for s in node["stages"]) or None),
    ]
    _table(console, columns, document["nodes"], "It has no jobs.")
    if document["more"]:
        console.say("There is more of it than is shown here.")


def _build(console: Console, document: Document) -> None:
    job, log = document["job"], document["log"]
    console.say(
        one_line(
            f"Job {job['id']} ({job['kind']} {job['name']} {job['architecture']}),"
            f" attempt {job['attempt']}: {job['result'] or job['state']}"
        ),
        "bold",
    )
    console.say(one_line(document["explanation"]["summary"]))
    if job["pipeline_jobs"]:
        console.say("")
        print_table(console, _PIPELINE_JOBS, job["pipeline_jobs"])
    if len(job["attempts"]) > 1:
        console.say("")
        print_table(console, _ATTEMPTS, job["attempts"])
    if log["text"]:
        console.say("")
        rest = "" if log["ended"] else ", so far"
        console.say(
            f"The log of attempt {log['attempt']}, from byte {log['from']}"
            f" to {log['length']}{rest}:"
        )
        for line in log["text"].splitlines():
            console.say(f"  {one_line(line)}")
    if document["history"]:
        console.say("")
        _trend(console, document["history"])
    if document["similar"]:
        console.say("")
        print_table(console, _ENTRIES, document["similar"])


def _queue(console: Console, document: Document) -> None:
    if document["classes"]:
        print_table(console, _CLASSES, document["classes"])
        console.say("")
    _table(console, _QUEUED, document["jobs"], "Nobody stands in the line.")
    _more(console, document)


def _held_by(job: Document) -> str | None:
    held = job["held_by"]
    if held is None:
        return None
    return f"{held['what']} {held['name']}".strip()


def _timeline(console: Console, document: Document) -> None:
    since, until = (_seconds(document[end]) for end in ("since", "until"))
    console.say(f"{moment(document['since'])} to {moment(document['until'])} UTC")
    each = (until - since) / _PIECES
    busy = [[0] * _PIECES for _ in document["workers"]]
    bad = [0] * len(busy)
    for worker, _, _, _, started, finished, result, *_ in document["bars"]:
        bad[worker] += result in ("failure", "error", "timeout", "malformed")
        last = until if finished is None else finished / 1e6
        for piece in _pieces(started / 1e6 - since, last - since, each):
            busy[worker][piece] += 1
    rows = [
        {**worker, "busy": "".join(map(_digit, busy[at])), "bad": bad[at]}
        for at, worker in enumerate(document["workers"])
    ]
    columns: list[Column] = [
        ("WORKER", lambda row: row["name"]),
        ("STATE", lambda row: row["state"]),
        ("SLOTS", lambda row: row["slots"]),
        ("BAD", lambda row: row["bad"] or None),
        ("AT WORK", lambda row: f"|{row['busy']}|"),
    ]
    _table(console, columns, rows, "No worker was there.")
    if document["more"]:
        console.say("There is more than is shown here: ask for less time, or one worker.")


def _pieces(start: float, end: float, each: float) -> Iterable[int]:
    first = max(0, int(start // each))
    return range(first, min(_PIECES - 1, int(end // each)) + 1)


def _digit(jobs: int) -> str:
    return " " if jobs == 0 else str(jobs) if jobs < 10 else "+"


def _seconds(text: str) -> float:
    return datetime.fromisoformat(text).timestamp()


def _history(console: Console, document: Document) -> None:
    _table(console, _ENTRIES, document["entries"], "Nothing of this sort has ended.")
    if document["trend"]:
        console.say("")
        _trend(console, document["trend"])
    _more(console, document)


def _trend(console: Console, days: Sequence[Document]) -> None:
    longest = max((day["p50"] or 0.0 for day in days), default=0.0)

    def bar(day: Document) -> str:
        return "#" * round(30 * (day["p50"] or 0.0) / longest) if longest else ""

    columns: list[Column] = [
        ("DAY", lambda day: day["day"]),
        ("JOBS", lambda day: day["jobs"]),
        ("GOOD", lambda day: day["good"]),
        ("BAD", lambda day: day["bad"]),
        ("HALF WITHIN", lambda day: duration(day["p50"])),
        ("95% WITHIN", lambda day: duration(day["p95"])),
        ("", bar),
    ]
    print_table(console, columns, days)


def duration(seconds: float | None) -> str | None:
    """A duration as people say it: ``4.2 s``, ``3 min 10 s``, ``2 h 5 min``."""
    if seconds is None:
        return None
    if seconds < 60:
        return f"{seconds:.1f} s"
    whole = round(seconds)
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


def _ran(one: Document) -> str | None:
    if one.get("started_at") is None or one.get("finished_at") is None:
        return None
    return duration(_seconds(one["finished_at"]) - _seconds(one["started_at"]))


def _table(
    console: Console, columns: Sequence[Column], rows: Sequence[Document], none: str
) -> None:
    if rows:
        print_table(console, columns, rows)
    else:
        console.say(none)


def _more(console: Console, document: Document) -> None:
    if document["next"] is not None:
        console.say(f"There are more: --after {document['next']}")


_JOB: Sequence[Column] = (
    ("ID", lambda job: job["id"]),
    ("KIND", lambda job: job["kind"]),
    ("NAME", lambda job: job["name"]),
    ("ARCH", lambda job: job["architecture"] or None),
    ("SERIES", lambda job: job["series"] or None),
)
_PIPELINE_JOBS: Sequence[Column] = (
    ("STAGE", lambda one: one["stage"]),
    ("PIPELINE JOB", lambda one: one["title"]),
    ("SERIES", lambda one: one["series"]),
    ("RESULT", lambda one: one["result"] or one["state"]),
    ("RAN", _ran),
    ("FILES", lambda one: len(one["artifacts"]) or None),
    ("REASON", lambda one: one["reason"] or None),
)
_ATTEMPTS: Sequence[Column] = (
    ("ATTEMPT", lambda one: one["number"]),
    ("WORKER", lambda one: one["worker"]),
    ("RESULT", lambda one: one["result"]),
    ("RAN", _ran),
    ("REASON", lambda one: one["reason"] or None),
)
_CLASSES: Sequence[Column] = (
    ("ARCH", lambda one: one["architecture"] or "any"),
    ("ISOLATION", lambda one: one["isolation"]),
    ("SERIES", lambda one: ",".join(one["series"]) or None),
    ("PERFORMS", lambda one: one["performs"]),
    ("TAGS", lambda one: ",".join(one["tags"]) or None),
    ("READY", lambda one: one["ready"]),
    ("RUNNING", lambda one: one["running"]),
    ("FREE SLOTS", lambda one: one["free_slots"]),
    ("WAITS SINCE", lambda one: moment(one["oldest_ready_at"])),
)
_QUEUED: Sequence[Column] = (
    ("PLACE", lambda job: job["place"]),
    *_JOB,
    ("OWNER", lambda job: job["owner"]),
    (
        "SCORE",
        lambda job: job["score"] if job["manual_score"] is None else job["manual_score"],
    ),
    ("READY SINCE", lambda job: moment(job["ready_at"])),
    ("HELD BY", _held_by),
    ("LIKELY START", lambda job: moment(job["likely_start"])),
    ("AT THE LATEST", lambda job: moment(job["latest_start"])),
)
_ENTRIES: Sequence[Column] = (
    ("JOB", lambda one: one["job"]),
    ("RUN", lambda one: one["run"]),
    ("ATTEMPT", lambda one: one["attempt"]),
    ("NAME", lambda one: one["name"]),
    ("ARCH", lambda one: one["architecture"] or None),
    ("SERIES", lambda one: one["series"] or None),
    ("WORKER", lambda one: one["worker"]),
    ("RESULT", lambda one: one["result"]),
    ("CLASS", lambda one: one["classification"]),
    ("ENDED", lambda one: moment(one["finished_at"])),
    ("WAITED", lambda one: duration(one["waited"])),
    ("RAN", lambda one: duration(one["ran"])),
)

_PRINTED: Mapping[str, Callable[[Console, Document], None]] = {
    "grid": _grid,
    "graph": _graph,
    "build": _build,
    "queue": _queue,
    "timeline": _timeline,
    "history": _history,
}

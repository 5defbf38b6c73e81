"""Reads a whole ``.headrace.yaml``: bytes in, its jobs and packages or all errors out."""

from __future__ import annotations

import msgspec

from buildmaster.references import package_keys
from buildmaster.references.job_keys import (
    ALL_KEYS,
    IDENTITY_KEYS,
    RESERVED,
    JobKeys,
)
from buildmaster.references.model import Job, Package, References
from protocol.order import variable_part
from protocol.pipeline import document, values
from protocol.pipeline.configuration import license_
from protocol.pipeline.document import BadDocument, Duplicate, Entry, Node, Sequence
from protocol.pipeline.paths import inside
from protocol.pipeline.problems import Problem, Report, Spot, quoted
from protocol.pipeline.values import below, described

JOB_LIMIT = 2000
#: Needs of all jobs of a file.
NEEDS_LIMIT = 50_000
KEYS = ("jobs", "packages", "defaults", "depends_default", "inputs", "license")
_DEFAULT_KEYS = ALL_KEYS - {*IDENTITY_KEYS, "actions"}


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """What a file says; ``references`` is None when there are errors."""

    references: References | None
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]


def is_references(path: str) -> bool:
    """Whether the file of this name is one of jobs that refer to each other."""
    name = path.rsplit("/", 1)[-1]
    return name in ("headrace.yaml", ".headrace.yaml") or name.endswith(".headrace.yaml")


def parse(text: bytes) -> Parsed:
    """Read ``text``, which may be anything at all; never raises, and is quick."""
    report = Report()
    references: References | None = None
    try:
        read = document.read(text)
    except BadDocument as error:
        report.error("", error.line, str(error))
    else:
        for duplicate in read.duplicates:
            _report_duplicate(duplicate, report)
        references = _file(read.root, report)
    return Parsed(
        references=None if report.errors else references,
        errors=_by_line(report.errors),
        warnings=_by_line(report.warnings),
    )


def _by_line(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda problem: problem.line or 2**62))


def _report_duplicate(duplicate: Duplicate, report: Report) -> None:
    where = ".".join(str(step)[:200] for step in duplicate.path)
    report.error(
        where,
        duplicate.line,
        f"the key {quoted(str(duplicate.path[-1]))} is given twice, first in line"
        f" {duplicate.first_line}; remove one",
    )


def _file(root: Node, report: Report) -> References | None:
    top = Spot(report, "", root.line)
    if isinstance(root, Sequence):
        # A list of jobs and nothing else, as others have it.
        return References(jobs=_jobs(root, top.at("jobs", root.line), {}, False))
    if not isinstance(root, document.Mapping):
        top.error(
            "the configuration must be a mapping with the key jobs, or a list of jobs, and"
            f" is {described(root)}"
        )
        return None
    found = values.fields(root, top, KEYS) or {}
    rebuild = below(found, "depends_default", top, values.choice(("rebuild", "order")))
    packages: tuple[Package, ...] = ()
    if "packages" in found:
        entry = found["packages"]
        spot = top.at("packages", entry.key.line)
        packages = package_keys.packages(entry.value, spot, rebuild != "order")
    defaults = below(found, "defaults", top, _defaults) or {}
    jobs: tuple[Job, ...] = ()
    if "jobs" in found:
        entry = found["jobs"]
        spot = top.at("jobs", entry.key.line)
        jobs = _jobs(entry.value, spot, defaults, "packages" in found)
    elif not packages:
        top.at("jobs").error("the key jobs is missing: it says what each job does")
    else:
        top.warning("the file has packages and no jobs: there is nothing to run")
    return References(
        jobs=jobs,
        packages=packages,
        inputs=below(found, "inputs", top, values.optional(values.each(inside))) or (),
        license=below(found, "license", top, values.optional(license_)),
    )


def _defaults(node: Node, spot: Spot) -> dict[str, Entry] | None:
    return values.fields(node, spot, _DEFAULT_KEYS)


def _jobs(
    node: Node, spot: Spot, defaults: dict[str, Entry], has_packages: bool
) -> tuple[Job, ...]:
    named = _named(node, spot)
    reader = JobKeys(has_packages)
    jobs: list[Job] = []
    lines: dict[str, int] = {}
    for name, entries, where in named:
        first = lines.setdefault(name, where.line or 0)
        if first != where.line:
            where.error(
                f"the identifier {quoted(name)} is given twice, in lines {first} and"
                f" {where.line}: whoever needs it could mean either; rename one"
            )
        if name == RESERVED:
            where.error(
                f"{RESERVED} is what the farm calls the builds of a plain pipeline; give"
                " this job another name"
            )
        job = reader.job(name, {**_fitting(defaults, entries), **entries}, where)
        if job is not None and first == where.line:
            jobs.append(job)
        if spot.report.full:
            break
    if len(jobs) == len(named) == len(lines):
        _check_needs(jobs, spot)
    return tuple(jobs)


def _fitting(defaults: dict[str, Entry], entries: dict[str, Entry]) -> dict[str, Entry]:
    """Those of the defaults that mean something for a job with these entries."""
    if "lpci" in entries:
        return {}
    return defaults


def _named(node: Node, spot: Spot) -> list[tuple[str, dict[str, Entry], Spot]]:
    """The jobs' names, entries and places."""
    found: list[tuple[str, dict[str, Entry], Spot]] = []
    if isinstance(node, document.Mapping):
        for entry in node.entries:
            name = values.identifier(entry.key, spot.at("__key__", entry.key.line))
            if name is not None:
                _add(name, entry.value, spot, entry.key.line, found)
    elif isinstance(node, Sequence):
        for place, item in enumerate(node.items):
            _add(None, item, spot, item.line, found, str(place))
    else:
        spot.error(f"this must be a mapping or a list of jobs, and is {described(node)}")
    if len(found) > JOB_LIMIT:
        spot.error(f"more than {JOB_LIMIT} jobs")
        return []
    return found


def _add(
    name: str | None,
    node: Node,
    spot: Spot,
    line: int,
    found: list[tuple[str, dict[str, Entry], Spot]],
    place: str = "",
) -> None:
    here = spot.at((name or place)[:200], line)
    if not isinstance(node, document.Mapping):
        what = f"the job {quoted(name)}" if name else "a job"
        here.error(f"{what} must be a mapping, and is {described(node)}")
        return
    entries = {entry.key.text: entry for entry in node.entries}
    given = entries.get("identifier")
    if given is not None:
        line = given.key.line
        name = values.identifier(given.value, here.at("identifier", line))
    elif name is None and "job" in entries:
        line = entries["job"].key.line
        name = values.identifier(entries["job"].value, here.at("job", line))
    elif name is None:
        here.error("the job has no identifier: give it one, so that others can refer to it")
    if name is not None:
        found.append((name, entries, spot.at(name[:200], line)))


def _check_inputs(job: Job, spot: Spot) -> None:
    """What it is handed must be told apart by the variables that say where."""
    own = [(job.name, job.line)] if job.is_per_package else []
    needs = [(need.job, need.line) for need in job.needs if need.artifacts != ()]
    collections = [(need.collection, need.line) for need in job.collections]
    known: dict[str, str] = {}
    for name, line in (*own, *needs, *collections):
        variable = variable_part(name)
        first = known.setdefault(variable, name)
        if first != name:
            spot.at(f"{job.name}.needs", line).error(
                f"the files of {quoted(first)} and of {quoted(name)} would both be in"
                f" $CI_INPUT_{variable}; rename one, or take no files of it (artifacts: [])"
            )


def _check_needs(jobs: list[Job], spot: Spot) -> None:
    """Every need must mean one job of the file; one that is weak may mean none."""
    known = {job.name for job in jobs}
    by_kind: dict[str, list[str]] = {}
    for job in jobs:
        by_kind.setdefault(job.kind, []).append(job.name)
    if sum(len(job.needs) for job in jobs) > NEEDS_LIMIT:
        spot.error(f"the jobs have more than {NEEDS_LIMIT} needs together")
        return
    for job in jobs:
        _check_inputs(job, spot)
        for need in job.needs:
            here = spot.at(f"{job.name}.needs", need.line)
            if need.job in known or need.weak:
                continue
            same_kind = by_kind.get(need.job, [])
            if same_kind:
                names = ", ".join(same_kind[:10])
                here.error(
                    f"{quoted(need.job)} is the kind of {names}: name one of them by its"
                    " identifier"
                )
                continue
            hint = spot.report.suggestion(need.job, known)
            here.error(
                f"there is no job {quoted(need.job)}{hint}; a need that may be missing is"
                " weak"
            )

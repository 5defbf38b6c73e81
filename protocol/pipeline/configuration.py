"""Reads a whole ``.launchpad.yaml``: bytes in, a pipeline or all its errors out."""

from __future__ import annotations

import msgspec

from protocol.pipeline import document, matrix, references, values
from protocol.pipeline.document import BadDocument, Duplicate, Entry, Mapping, Node
from protocol.pipeline.job import JobReader
from protocol.pipeline.model import License, Pipeline, PipelineJob
from protocol.pipeline.problems import Problem, Report, Spot, quoted
from protocol.pipeline.references import Lines
from protocol.pipeline.values import described

__all__ = ["Parsed", "Problem", "parse"]

_KEYS = ("pipeline", "jobs", "license")


class Parsed(msgspec.Struct, frozen=True, kw_only=True):
    """What a configuration says; ``pipeline`` is None when there are errors."""

    pipeline: Pipeline | None
    errors: tuple[Problem, ...]
    warnings: tuple[Problem, ...]
    #: What it would be without the keys that nobody knows, if these are all that is wrong.
    draft: Pipeline | None = None
    #: Lines of what a plan can find fault with, by dotted place: stages, inputs.
    lines: dict[str, int] = {}


def parse(text: bytes, *, lpci_compatible: bool = False) -> Parsed:
    """Read ``text``, which may be anything at all; never raises, and is quick.

    With ``lpci_compatible`` what the reference implementation accepts is at most warned
    of: undefined names, ambiguous inputs, impossible paths, keys given twice.
    """
    report = Report(lenient=lpci_compatible)
    pipeline: Pipeline | None = None
    lines: dict[str, int] = {}
    try:
        read = document.read(text)
    except BadDocument as error:
        report.error("", error.line, str(error))
    else:
        for duplicate in read.duplicates:
            _report_duplicate(duplicate, report)
        pipeline, lines = _Reader(report).pipeline(read.root)
    return Parsed(
        pipeline=None if report.errors else pipeline,
        draft=None if report.serious else pipeline,
        errors=_by_line(report.errors),
        warnings=_by_line(report.warnings),
        lines=lines,
    )


def _by_line(problems: list[Problem]) -> tuple[Problem, ...]:
    return tuple(sorted(problems, key=lambda problem: problem.line or 2**62))


def _report_duplicate(duplicate: Duplicate, report: Report) -> None:
    *path, key = map(str, duplicate.path)
    if path[:1] == ["jobs"] and len(path) > 1:
        # As everywhere, the concrete index follows the name.
        path[2:4] = path[3:4] if path[2:3] == ["matrix"] else ["0", *path[2:4]]
    where = ".".join(step[:200] for step in (*path, key))
    report.doubt(
        where,
        duplicate.line,
        f"the key {quoted(key)} is given twice, first in line {duplicate.first_line};"
        " remove one",
    )


class _Reader:
    """Reads the parts of one document."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._jobs = JobReader(report.lenient)
        self._budget = matrix.Budget()
        self._input_lines: dict[tuple[str, int], int] = {}
        self._has_jobs = False

    def pipeline(self, root: Node) -> tuple[Pipeline | None, dict[str, int]]:
        if not isinstance(root, Mapping):
            self._report.error(
                "",
                root.line,
                "the configuration must be a mapping with the keys pipeline and jobs,"
                f" and is {described(root)}",
            )
            return None, {}
        top = Spot(self._report, "", root.line)
        found = values.fields(root, top, _KEYS) or {}
        stages = values.below(
            found, "pipeline", top, _stages, "it lists the stages, in order"
        )
        has_stages = stages is not None and not self._report.serious
        jobs = self._read_jobs(found.get("jobs"), top)
        terms = values.below(found, "license", top, values.optional(license_))
        lines = self._lines(found, stages)
        names = tuple(tuple(names) for names, _ in stages or ())
        pipeline = Pipeline(stages=names, jobs=jobs, license=terms)
        is_broken = self._report.serious > 0
        if not is_broken:
            references.check_sizes(pipeline, lines.pipeline, self._report)
        if stages is not None and self._has_jobs:
            references.check_names(names, lines, jobs, self._report)
        if has_stages and self._has_jobs:
            references.check_inputs(pipeline, lines, self._report)
        return None if is_broken else pipeline, lines.by_place()

    def _read_jobs(
        self, entry: Entry | None, top: Spot
    ) -> dict[str, tuple[PipelineJob, ...]]:
        jobs: dict[str, tuple[PipelineJob, ...]] = {}
        if entry is None:
            top.at("jobs").error("the key jobs is missing: it says what each job does")
            return jobs
        spot = top.at("jobs", entry.key.line)
        self._has_jobs = isinstance(entry.value, Mapping)
        if not isinstance(entry.value, Mapping):
            spot.error(f"this must be a mapping of jobs, and is {described(entry.value)}")
            return jobs
        for job in entry.value.entries:
            if not isinstance(job.key.value, str):
                spot.at("__key__", job.key.line).error(
                    f"the name of a job: {values.not_text(job.key)}"
                )
            elif isinstance(job.value, Mapping):
                concrete = self._read_job(job.key.value, job, job.value)
                if concrete is not None:
                    jobs[job.key.value] = concrete
            else:
                # The reference notices this before it knows the job.
                Spot(self._report, "__root__", job.key.line).error(
                    f"the job {quoted(job.key.text)} must be a mapping,"
                    f" and is {described(job.value)}"
                )
            if self._report.full:
                break
        return jobs

    def _read_job(
        self, name: str, entry: Entry, node: Mapping
    ) -> tuple[PipelineJob, ...] | None:
        before = self._report.serious
        jobs = []
        line = entry.key.line
        for concrete in matrix.concrete_jobs(name, node, line, self._budget, self._report):
            where = f"jobs.{name[:200]}.{concrete.index}"
            job = self._jobs.job(concrete.found, Spot(self._report, where, concrete.line))
            if job is not None:
                jobs.append(job)
                self._input_lines[name, concrete.index] = _input_line(concrete)
            elif self._report.full:
                break
        return tuple(jobs) if self._report.serious == before else None

    def _lines(
        self, found: dict[str, Entry], stages: list[tuple[list[str], list[int]]] | None
    ) -> Lines:
        entry = found.get("pipeline")
        node = entry.value if entry is not None else None
        items = node.items if isinstance(node, document.Sequence) else ()
        entry = found.get("jobs")
        node = entry.value if entry is not None else None
        jobs = node.entries if isinstance(node, Mapping) else ()
        return Lines(
            pipeline=found["pipeline"].key.line if "pipeline" in found else 1,
            stages=tuple(item.line for item in items),
            names=tuple(tuple(lines) for _, lines in stages or ()),
            jobs={job.key.text: job.key.line for job in jobs},
            inputs=self._input_lines,
        )


def _input_line(concrete: matrix.Concrete) -> int:
    """The line that names the job whose output is taken; of no input, any line."""
    entry = concrete.found.get("input")
    if entry is not None and isinstance(entry.value, Mapping):
        for below in entry.value.entries:
            if below.key.value == "job-name":
                return below.key.line
    return concrete.line


def _stages(node: Node, spot: Spot) -> list[tuple[list[str], list[int]]] | None:
    """The names of each stage, with their lines."""
    if isinstance(node, document.Scalar) and isinstance(node.value, str):
        # The reference reads a text as a list of its characters.
        for number in range(min(len(node.value), 1000)):
            spot.at(f"{number}.0").error(
                f"this must be a list, like [{node.text[:60]}], and is {described(node)}"
            )
        return None
    if not isinstance(node, document.Sequence):
        spot.error(f"this must be a list of stages, and is {described(node)}")
        return None
    stages = [
        _stage(item, spot.at(number, item.line)) for number, item in enumerate(node.items)
    ]
    if not any(names for names, _ in stages):
        spot.warning("the pipeline has no stages: there is nothing to run")
    return stages


def _stage(node: Node, spot: Spot) -> tuple[list[str], list[int]]:
    if isinstance(node, document.Scalar) and isinstance(node.value, str):
        items: tuple[Node, ...] = (node,)
    elif isinstance(node, document.Sequence):
        items = node.items
    else:
        spot.error(f"a stage must be a name or a list of names, and is {described(node)}")
        return [], []
    names, lines = [], []
    for place, item in enumerate(items):
        name = values.identifier(item, spot.at(place, item.line))
        if name is not None:
            names.append(name)
            lines.append(item.line)
    return names, lines


def license_(node: Node, spot: Spot) -> License | None:
    """A ``license`` mapping."""
    found = values.fields(node, spot, ("spdx", "path"))
    if found is None:
        return None
    spdx = values.below(found, "spdx", spot, values.optional(values.text))
    path = values.below(found, "path", spot, values.optional(values.text))
    if spdx is not None and path is not None:
        spot.at("__root__").error("spdx and path exclude each other; leave one out")
    if not found:
        spot.warning("a license names its spdx identifier or the path of its text")
    return License(spdx=spdx, path=path)

"""Checks what one part of a configuration says of another: names, inputs, sizes."""

from __future__ import annotations

from collections.abc import Sequence

import msgspec

from protocol.pipeline.job import ARCHITECTURE_LIMIT
from protocol.pipeline.matrix import JOB_LIMIT
from protocol.pipeline.model import Pipeline, PipelineJob
from protocol.pipeline.problems import Report, listed, quoted
from protocol.stages import title

STAGE_LIMIT = 300
#: Bytes of the expanded jobs as a message has them: an order must fit into a frame.
EXPANDED_LIMIT = 512 * 1024


class Lines(msgspec.Struct, frozen=True):
    """Where in the file things are: lines, from 1."""

    pipeline: int
    stages: tuple[int, ...]
    names: tuple[tuple[int, ...], ...]  #: of each name of each stage
    jobs: dict[str, int]
    inputs: dict[tuple[str, int], int]  #: of what the job with that index takes

    def by_place(self) -> dict[str, int]:
        """What a plan can find fault with, by its dotted place."""
        return {
            "pipeline": self.pipeline,
            **{f"pipeline.{number}": line for number, line in enumerate(self.stages)},
            **{
                f"pipeline.{number}.{place}": line
                for number, lines in enumerate(self.names)
                for place, line in enumerate(lines)
            },
            **{_input_place(*job): line for job, line in self.inputs.items()},
        }


def _input_place(name: str, index: int) -> str:
    return f"jobs.{name[:200]}.{index}.input.job-name"


def check_names(
    stages: Sequence[Sequence[str]],
    lines: Lines,
    jobs: dict[str, tuple[PipelineJob, ...]],
    report: Report,
) -> None:
    """Report names of ``stages`` that no job has, and jobs that no stage has."""
    seen: dict[str, int] = {}
    for number, stage in enumerate(stages):
        for place, name in enumerate(stage):
            where, line = f"pipeline.{number}.{place}", lines.names[number][place]
            if name not in lines.jobs:
                hint = report.suggestion(name, lines.jobs)
                report.doubt(where, line, f"undefined job {quoted(name)}{hint}")
            elif name in jobs and not jobs[name]:
                message = f"the job {name} has an empty matrix: there is nothing to run"
                report.doubt(where, line, message)
            elif name in seen:
                report.warning(
                    where, line, f"the job {name} is in the pipeline twice and runs twice"
                )
            seen.setdefault(name, number)
    for name, line in lines.jobs.items():
        if name not in seen:
            message = f"the job {quoted(name)} is not in the pipeline and never runs"
            report.warning(f"jobs.{name[:200]}", line, message)


def check_sizes(pipeline: Pipeline, line: int, report: Report) -> None:
    """Report a pipeline, in that line, that is larger than what can be planned and sent."""
    if len(pipeline.stages) > STAGE_LIMIT:
        report.error("pipeline", line, f"more than {STAGE_LIMIT} stages")
    names = [name for stage in pipeline.stages for name in stage]
    total = sum(len(pipeline.jobs.get(name, ())) for name in names)
    if total > JOB_LIMIT:
        message = f"the pipeline runs {total} jobs; {JOB_LIMIT} are allowed"
        report.error("pipeline", line, message)
        return
    _check_architectures(pipeline, set(names), line, report)
    size = len(msgspec.msgpack.encode(pipeline.jobs))
    size += sum(len(pipeline.jobs.get(name, ())) * (len(name) + 4) for name in names)
    if size > EXPANDED_LIMIT:
        report.error(
            "",
            1,
            f"the jobs expand to {size // 1024} KiB;"
            f" {EXPANDED_LIMIT // 1024} KiB are allowed: put long scripts into files",
        )


def _check_architectures(
    pipeline: Pipeline, names: set[str], line: int, report: Report
) -> None:
    architectures = {
        architecture
        for name in names
        for job in pipeline.jobs.get(name, ())
        for architecture in job.architectures
    }
    if len(architectures) > ARCHITECTURE_LIMIT:
        message = f"the pipeline runs on more than {ARCHITECTURE_LIMIT} architectures"
        report.error("pipeline", line, message)


def check_inputs(pipeline: Pipeline, lines: Lines, report: Report) -> None:
    """Report inputs whose source is undefined, ambiguous or not there in time.

    Of a file with other errors ``pipeline`` holds only the jobs that could be read.
    """
    places: dict[str, tuple[int, int]] = {}
    for number, stage in enumerate(pipeline.stages):
        for place, name in enumerate(stage):
            places.setdefault(name, (number, place))
    judge = _InputJudge(pipeline, lines, places, report)
    for name, jobs in pipeline.jobs.items():
        for index, job in enumerate(jobs):
            if job.input is not None:
                judge.judge(name, index, job, job.input.job_name)


class _InputJudge:
    def __init__(
        self,
        pipeline: Pipeline,
        lines: Lines,
        places: dict[str, tuple[int, int]],
        report: Report,
    ) -> None:
        self._pipeline = pipeline
        self._lines = lines
        self._places = places
        self._report = report
        self._sources: dict[str, dict[str, list[int]]] = {}

    def judge(self, name: str, index: int, job: PipelineJob, source: str) -> None:
        problem = self._undefined(source) or self._order(name, source)
        if not problem and name in self._places and source in self._pipeline.jobs:
            problem = self._ambiguity(job, source)
        where = _input_place(name, index)
        line = self._lines.inputs[name, index]
        if problem:
            self._report.doubt(where, line, problem)
        elif self._is_in_same_stage(name, source):
            self._report.warning(
                where,
                line,
                f"{source} is in the same stage; put this job into a later stage,"
                f" so that it waits until {source} has passed",
            )

    def _undefined(self, source: str) -> str:
        if source in self._lines.jobs:
            return ""
        hint = self._report.suggestion(source, self._lines.jobs)
        return f"the input is of the undefined job {quoted(source)}{hint}"

    def _order(self, name: str, source: str) -> str:
        if name not in self._places:
            return ""
        if source not in self._places:
            return f"the input's job {quoted(source)} is not in the pipeline"
        if self._places[source] >= self._places[name]:
            return f"the input's job {source} does not run before this job"
        return ""

    def _is_in_same_stage(self, name: str, source: str) -> bool:
        return name in self._places and self._places[source][0] == self._places[name][0]

    def _ambiguity(self, job: PipelineJob, source: str) -> str:
        indices = self._indices(source)
        for architecture in dict.fromkeys(job.architectures):
            local = indices.get(architecture)
            if local is None:
                problem = _elsewhere(source, architecture, indices)
            elif len(local) > 1:
                titles = [title(source, index) for index in local[:5]]
                problem = (
                    f"the input is ambiguous: on {architecture} the job {source}"
                    f" runs {len(local)} times ({', '.join(titles)}); one is allowed"
                )
            else:
                problem = ""
            if problem:
                return problem
        return ""

    def _indices(self, source: str) -> dict[str, list[int]]:
        """The indices of ``source`` by architecture."""
        known = self._sources.get(source)
        if known is None:
            known = self._sources[source] = {}
            for index, job in enumerate(self._pipeline.jobs.get(source, ())):
                for architecture in dict.fromkeys(job.architectures):
                    known.setdefault(architecture, []).append(index)
        return known


def _elsewhere(source: str, architecture: str, indices: dict[str, list[int]]) -> str:
    """What is wrong with taking, on ``architecture``, what other architectures made."""
    if not indices:
        return f"the input's job {source} runs nowhere"
    if sum(map(len, indices.values())) == 1:
        return ""
    return (
        f"the input is ambiguous: {source} does not run on {architecture} and"
        f" makes several outputs elsewhere ({listed(list(indices)[:5])})"
    )

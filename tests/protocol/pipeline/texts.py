"""Short configurations for tests."""

from __future__ import annotations

from protocol.pipeline.configuration import Parsed, parse
from protocol.pipeline.model import Pipeline, PipelineJob
from protocol.pipeline.problems import Problem

_UNIT = "pipeline: [unit]\njobs:\n  unit:\n    series: jammy\n    architectures: amd64\n"
#: Line of the first own key of a text from `unit`.
FIRST_LINE = 6


def unit(*lines: str) -> bytes:
    """A pipeline of one job with further ``lines``, each a key or below one."""
    return (_UNIT + "".join(f"    {line}\n" for line in lines)).encode()


def valid(text: bytes, lpci_compatible: bool = False) -> Pipeline:
    """The pipeline that ``text`` says; fails when it is not valid."""
    parsed = parse(text, lpci_compatible=lpci_compatible)
    if parsed.pipeline is None:
        raise AssertionError(f"not valid: {parsed.errors}")
    return parsed.pipeline


def valid_unit(*lines: str) -> PipelineJob:
    """The one job of the configuration with these lines."""
    return valid(unit(*lines)).jobs["unit"][0]


def only(problems: tuple[Problem, ...]) -> Problem:
    """The one problem there is."""
    if len(problems) != 1:
        raise AssertionError(f"one problem expected: {problems}")
    return problems[0]


def error_of(*lines: str) -> Problem:
    """The one error of the configuration with these lines."""
    return only(parse(unit(*lines)).errors)


def parsed_unit(*lines: str) -> Parsed:
    """What becomes of the configuration with these lines."""
    return parse(unit(*lines))

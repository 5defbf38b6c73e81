"""Configurations of jobs that refer to each other, for several tests."""

from __future__ import annotations

from buildmaster.references.expansion import Edge, Expanded, Graph, expand
from buildmaster.references.model import References
from buildmaster.references.reading import parse
from protocol.pipeline.problems import Problem

#: As it stands in the note, two jobs of one identifier included.
NOTE = b"""\
- job: copr_build
  identifier: "build1"
  trigger: pull_request
  actions: ...
- job: copr_build
  identifier: "build2"
  trigger: pull_request
  actions: ...
- job: tests
  identifier: "tests2"
  trigger: pull_request
  build_identifier: "build1"
- job: tests
  identifier: "tests2"
  trigger: pull_request
  build_identifier: "build2"
"""
NOTE_PACKAGES = b"""\
packages:
  A:
    depends:
      - B
      - name: C
        rebuild: true
  B: ...
  C: ...
"""
MONOREPO = """\
packages: {A: {paths: [a], depends: [B, {name: C, rebuild: true}]}, B: {paths: [b]},
           C: {paths: [c]}}
defaults: {series: noble, run: make}
jobs:
  build:   {per_package: true, matrix: {arch: [amd64, arm64]}}
  test:    {per_package: true, needs: [build], install: closure,
            matrix: {arch: [amd64, arm64]}}
  publish: {scope: component, needs: [{job: test, map: all}], interruptible: false}
"""


def read(text: str | bytes) -> References:
    """What a valid file says."""
    parsed = parse(text.encode() if isinstance(text, str) else text)
    assert parsed.references is not None, parsed.errors
    return parsed.references


def jobs(text: str, **more: str) -> References:
    """The same of the jobs of a file that says nothing else but ``more``."""
    head = "".join(f"{key}: {value}\n" for key, value in more.items())
    lines = "".join(f"  {line}\n" for line in text.strip().splitlines())
    return read(f"{head}jobs:\n{lines}")


def expanded(text: str, trigger: str | None = None) -> Expanded:
    """A valid file, expanded; perhaps with errors."""
    return expand(read(text), trigger)


def graph(text: str, trigger: str | None = None) -> Graph:
    """The graph of a file that has one."""
    found = expanded(text, trigger)
    assert found.graph is not None, found.errors
    return found.graph


def edges(of: Graph) -> set[tuple[str, str]]:
    """Titles of what is waited for, and of what waits."""
    return {(of.nodes[edge.up].title, of.nodes[edge.down].title) for edge in of.edges}


def edge(of: Graph, up: str, down: str) -> Edge:
    """The one edge between two titles."""
    [found] = [
        one
        for one in of.edges
        if (of.nodes[one.up].title, of.nodes[one.down].title) == (up, down)
    ]
    return found


def errors(text: str | bytes) -> tuple[Problem, ...]:
    """What is wrong with a file."""
    return parse(text.encode() if isinstance(text, str) else text).errors


def error(text: str | bytes) -> Problem:
    """The one thing that is wrong with a file."""
    [found] = errors(text)
    return found

"""The configuration of a pipeline, expanded: what a valid ``.launchpad.yaml`` says.

Encoded with ``msgspec.json`` or ``msgspec.to_builtins`` these types have the file's own
dashed keys; a field that is left out has its default.
"""

from __future__ import annotations

from typing import Any

import msgspec


class Expiry(msgspec.Struct, frozen=True):
    """A duration."""

    seconds: float


class Output(msgspec.Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True):
    """What is kept of a pipeline job that passed."""

    paths: tuple[str, ...] | None = None  #: globs, relative to the project
    distribute: str | None = None
    channels: tuple[str, ...] | None = None
    properties: dict[str, Any] | None = None
    dynamic_properties: str | None = None  #: a file of KEY=VALUE lines in the project
    expires: Expiry | None = None


class Input(msgspec.Struct, frozen=True, kw_only=True, rename="kebab"):
    """Which earlier pipeline job's output is wanted, and where in the project."""

    job_name: str
    target_directory: str


class Snap(msgspec.Struct, frozen=True, kw_only=True):
    """A snap to install."""

    name: str
    channel: str = "latest/stable"
    classic: bool = False


class PackageRepository(
    msgspec.Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True
):
    """An apt archive to add, with the lines that say so to apt."""

    type: str
    url: str
    components: tuple[str, ...]
    formats: tuple[str, ...]
    suites: tuple[str, ...]
    ppa: str | None = None
    trusted: str | None = None  #: "yes", "no" or unsaid

    @property
    def sources_list_lines(self) -> tuple[str, ...]:
        """Lines for sources.list, format by format, suite by suite."""
        option = f" [trusted={self.trusted}]" if self.trusted is not None else ""
        return tuple(
            f"{kind}{option} {self.url} {suite} {' '.join(self.components)}"
            for kind in self.formats
            for suite in self.suites
        )


class License(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """The project's licence; at most one of the two is given."""

    spdx: str | None = None
    path: str | None = None


class PipelineJob(
    msgspec.Struct, frozen=True, kw_only=True, rename="kebab", omit_defaults=True
):
    """One concrete job: a name's job after its matrix is expanded."""

    series: str
    architectures: tuple[str, ...]
    run: str | None = None
    run_before: str | None = None
    run_after: str | None = None
    environment: dict[str, str | None] | None = None  #: None as a value unsets
    packages: tuple[str, ...] | None = None
    package_repositories: tuple[PackageRepository, ...] = ()
    snaps: tuple[Snap, ...] = ()
    plugin: str | None = None
    plugin_config: dict[str, Any] | None = None
    root: bool = True
    output: Output | None = None
    input: Input | None = None


class Pipeline(msgspec.Struct, frozen=True, kw_only=True):
    """A whole configuration.

    ``stages`` holds names, as the file's ``pipeline`` does; ``jobs`` the concrete jobs
    of every name, index by index.
    """

    stages: tuple[tuple[str, ...], ...]
    jobs: dict[str, tuple[PipelineJob, ...]]
    license: License | None = None

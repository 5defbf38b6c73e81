"""Installing: the snaps and packages of a pipeline job, and where apt finds them."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

import msgspec

from protocol.pipeline.model import PackageRepository, PipelineJob, Snap
from protocol.stages import Cell, title
from worker.environments.interface import SOURCES, BadPath, IEnvironment
from worker.supervisor.endings import CannotRun, Malformed
from worker.supervisor.redaction import Redactor
from worker.supervisor.rendering import needs_secrets, render, userinfo
from worker.supervisor.secrets_file import BadSecrets, read_secrets
from worker.supervisor.settings import Settings
from worker.supervisor.signing_keys import fetch_key, full_name

#: Bytes of lines for apt that are looked at.
LARGEST_SOURCES = 1 << 20
_KEYS = "/etc/apt/trusted.gpg.d"


@dataclass(frozen=True, kw_only=True)
class Wanted:
    """What is to be installed for a pipeline job."""

    cell: Cell
    job: PipelineJob
    packages: tuple[str, ...]  #: the plugin's and the job's


def check_snaps(environment: IEnvironment, cell: Cell, job: PipelineJob) -> None:
    """Raise `Malformed` if ``job`` wants snaps where there can be none."""
    if job.snaps and not environment.can_snap:
        raise Malformed(
            f"`snaps` of {title(*cell)} asks for {job.snaps[0].name}, but environments of "
            "this kind cannot have snaps; use `packages`"
        )


def snap_commands(snaps: Iterable[Snap]) -> list[list[str]]:
    """The commands (argv) that install ``snaps``, one by one."""
    return [
        [
            *("snap", "install", "--channel", snap.channel),
            *(["--classic"] if snap.classic else []),
            *("--", snap.name),
        ]
        for snap in snaps
    ]


class Installing:
    """Gets environments ready to install; knows the operator's wishes about that."""

    def __init__(
        self, settings: Settings, say: Callable[[str], None], redactor: Redactor
    ) -> None:
        self._settings = settings
        self._say = say
        self._redactor = redactor

    def commands(self, environment: IEnvironment, wanted: Wanted) -> list[list[str]]:
        """The commands (argv) that install what is ``wanted``, in order.

        `Malformed`, `CannotRun` or Unfit say why that cannot be.
        """
        job = wanted.job
        snaps = snap_commands(job.snaps)
        if not wanted.packages:
            if job.package_repositories:
                self._say(
                    "-- package-repositories: no effect, for no packages are installed"
                )
            return snaps
        if not environment.can_install:
            if job.package_repositories:
                self._say("-- package-repositories: no effect, nothing can be installed")
            # It will say what is missing, or that nothing is.
            return [*snaps, *environment.install(wanted.packages)]
        lines = self._lines(wanted)
        self._bring_keys(environment, wanted)
        if self._settings.replace_package_repositories:
            clear_sources(environment)
        return [*snaps, *environment.install(wanted.packages, lines)]

    def _lines(self, wanted: Wanted) -> tuple[str, ...]:
        """Lines for sources.list: the operator's, then the job's; with secrets."""
        settings = self._settings
        theirs = (
            *settings.replace_package_repositories,
            *settings.package_repositories,
        )
        own = [
            line
            for repository in wanted.job.package_repositories
            for line in self._trusted(repository).sources_list_lines
        ]
        for line in own:
            self._say(f"-- package-repositories: {line}")
        key = f"`package-repositories` of {title(*wanted.cell)}"
        return (
            *self._rendered(theirs, "the operator's `package_repositories`"),
            *self._rendered(tuple(own), key),
        )

    def _trusted(self, repository: PackageRepository) -> PackageRepository:
        if repository.trusted is None and self._is_trusted(repository):
            return msgspec.structs.replace(repository, trusted="yes")
        return repository

    def _is_trusted(self, repository: PackageRepository) -> bool:
        trusted = {full_name(ppa) for ppa in self._settings.trusted_ppas}
        return repository.ppa is not None and full_name(repository.ppa) in trusted

    def _rendered(self, lines: tuple[str, ...], who: str) -> tuple[str, ...]:
        if not any(needs_secrets(line) for line in lines):
            return lines
        secrets: dict[str, str] = {}
        where = "because this worker's operator has set no secrets_file"
        if self._settings.secrets_file is not None:
            where = "in this worker's secrets_file"
            try:
                secrets = read_secrets(Path(self._settings.secrets_file))
            except BadSecrets as error:
                raise CannotRun(f"{who} needs secrets, but {error}") from error
        self._redactor.learn(secrets.values())
        rendered = render(lines, secrets, who, where)
        for line, source in zip(rendered, lines, strict=True):
            # Filters may have changed the secret.
            self._redactor.learn(userinfo(line) if line != source else ())
        return rendered

    def _bring_keys(self, environment: IEnvironment, wanted: Wanted) -> None:
        settings = self._settings
        for repository in wanted.job.package_repositories:
            ppa = repository.ppa
            if ppa is None or self._trusted(repository).trusted == "yes":
                continue
            who = f"`package-repositories` of {title(*wanted.cell)}"
            key = fetch_key(ppa, settings.launchpad_api, settings.environment, who)
            name = full_name(ppa).replace("/", "-")
            _push(environment, key, f"{_KEYS}/headrace-{name}.asc")


def clear_sources(environment: IEnvironment) -> None:
    """Take away the sources that the image came with."""
    _push(environment, b"", "/etc/apt/sources.list")
    with _folder() as empty:
        environment.push(empty, "/etc/apt/sources.list.d")


def forget_secrets(environment: IEnvironment, redactor: Redactor) -> None:
    """Take the secrets out of what was written into ``environment`` for apt."""
    with _folder() as folder:
        file = folder / "sources"
        try:
            environment.pull(SOURCES, file)
        except BadPath:
            return
        # A job may have put anything in its place.
        content = file.read_bytes()[:LARGEST_SOURCES] if file.is_file() else b""
    redacted = redactor.text(content.decode(errors="replace")).encode()
    if redacted != content:
        _push(environment, redacted, SOURCES)


def _push(environment: IEnvironment, content: bytes, inside: str) -> None:
    with _folder() as folder:
        file = folder / "file"
        file.write_bytes(content)
        file.chmod(0o644)
        environment.push(file, inside)


@contextlib.contextmanager
def _folder() -> Iterator[Path]:
    """A new folder, for a while."""
    import tempfile  # takes long to import, and few builds need it

    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o755)
        yield Path(folder)

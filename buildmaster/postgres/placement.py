"""Decides where a farm's cluster and its socket lie.

The cluster lies in the data folder, unless PostgreSQL's account can't pass to there (a
data folder under ``/root``): then in ``/var/lib/headrace/clusters``, with a note of the
place in the data folder. The socket lies in a short folder of its own, because the path
of a socket ends at 107 bytes, and private, because whoever reaches it may connect.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from itertools import count
from pathlib import Path

from buildmaster.postgres.account import Account

#: For clusters of data folders that an unprivileged account can't pass to.
CLUSTERS = Path("/var/lib/headrace/clusters")

#: PostgreSQL's socket is this file in its folder.
SOCKET_NAME = ".s.PGSQL.5432"

#: Below the 107 bytes of Linux and the 103 of others.
LONGEST_SOCKET = 99

#: libpq and PostgreSQL both split at commas and quote in ways of their own.
_PLAIN = re.compile(r"/[A-Za-z0-9/_.+-]*")


class Unplaceable(Exception):
    """The cluster or its socket can't lie where it should; the message says why."""


class UnsafeFolder(Unplaceable):
    """A folder that must be ours alone belongs to, or is open to, somebody else."""


@dataclass(frozen=True)
class Home:
    """The folder of one cluster and of what Headrace keeps beside it.

    It belongs to the daemon's account; only ``cluster`` belongs to PostgreSQL's, so that
    nothing which we write can be bent to another place by that account.
    """

    folder: Path
    data_folder: Path

    @property
    def cluster(self) -> Path:
        return self.folder / "data"

    @property
    def log(self) -> Path:
        return self.folder / "log"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def access(self) -> Path:
        """Who may connect; PostgreSQL's ``hba_file``."""
        return self.folder / "access.conf"

    @property
    def names(self) -> Path:
        """Which account is which role; PostgreSQL's ``ident_file``."""
        return self.folder / "names.conf"

    @property
    def pid_file(self) -> Path:
        return self.data_folder / "postgres.pid"


def note_of(data_folder: Path) -> Path:
    """The file that names the cluster's place where that is not in the data folder."""
    return data_folder / "postgres.location"


def recorded_home(data_folder: Path) -> Home | None:
    """The home that an earlier start chose, if there was one.

    Raises ``Unplaceable`` if it is gone: an empty cluster in its stead would look like
    the loss of all data.
    """
    _require_speakable(data_folder)
    note = note_of(data_folder)
    if not note.exists():
        home = Home(data_folder / "postgres", data_folder)
        return home if home.folder.exists() else None
    place = note.read_text().rstrip("\n")
    if not place.startswith("/") or not Path(place).is_dir():
        raise Unplaceable(
            f"{note} says that the database lies in {place!r}, and no such folder exists: "
            f"bring it back from a backup, or remove {note} to start with an empty one."
        )
    return Home(Path(place), data_folder)


def make_home(data_folder: Path, account: Account, clusters: Path = CLUSTERS) -> Home:
    """Choose a home for a new cluster, make its folder, and note it if it is elsewhere."""
    data_folder.mkdir(parents=True, exist_ok=True)
    if account.can_enter(data_folder):
        home = Home(data_folder / "postgres", data_folder)
        _make_own(home.folder, 0o755 if account.is_other else 0o700)
        return home
    if not account.is_other:
        raise Unplaceable(
            f"This daemon may not enter {data_folder}: give it to the account "
            f"{account.name}, or choose another data folder."
        )
    home = Home(_new_cluster_folder(clusters, data_folder), data_folder)
    note_of(data_folder).write_text(f"{home.folder}\n")
    return home


def require_reachable(home: Home, account: Account) -> None:
    """Return if the home is safe and PostgreSQL's account can pass to it."""
    _require_own(home.folder, forbidden=0o022)
    if not account.can_enter(home.folder):
        raise Unplaceable(
            f"The account {account.name}, which runs PostgreSQL, can't pass to "
            f"{home.folder}: let it, with 'chmod o+x' on that folder and those above it."
        )


def make_socket_folder(
    home: Home, account: Account, environ: Mapping[str, str], shared: Path = Path("/tmp")
) -> Path:
    """A short folder that only ``account`` (and root) can enter, made if need be.

    Raises ``Unplaceable`` naming every place that was tried.
    """
    name = hashlib.sha256(f"{home.folder}\0{account.uid}".encode()).hexdigest()[:12]
    refused = []
    for base in _socket_bases(account, environ, shared):
        folder = base / name
        length = len(os.fsencode(folder / SOCKET_NAME))
        if length > LONGEST_SOCKET or not _PLAIN.fullmatch(str(folder)):
            refused.append(f"{folder}: too long for a socket, or with unusual characters")
            continue
        try:
            _make_both(base, folder, account)
            return folder
        except (OSError, UnsafeFolder) as error:
            refused.append(str(error))
    raise Unplaceable(
        "There is no safe place for PostgreSQL's socket: set XDG_RUNTIME_DIR to a short "
        "private folder, or make one of these usable: " + "; ".join(refused)
    )


def remove_socket_folder(folder: Path) -> None:
    """Remove what `make_socket_folder` made, unless something is still in it."""
    with suppress(OSError):  # not empty after a crash; the next start uses it
        folder.rmdir()
        folder.parent.rmdir()  # other clusters may have theirs beside it


def _make_both(base: Path, folder: Path, account: Account) -> None:
    for last in (*[False] * 9, True):
        try:
            _make_own(base, 0o711 if account.is_other else 0o700)
            return _make_own(folder, 0o700, account)
        except FileNotFoundError:
            # Another farm, which just ended, took the base away with its own folder.
            if last:
                raise


def _socket_bases(
    account: Account, environ: Mapping[str, str], shared: Path
) -> Iterator[Path]:
    runtime = environ.get("XDG_RUNTIME_DIR", "")
    # Root's own runtime folder is closed to the account that PostgreSQL runs as.
    if runtime.startswith("/") and not account.is_other:
        yield Path(runtime) / "headrace"
    if account.is_other:
        yield Path("/run/headrace")
    yield shared / f"headrace-{os.geteuid()}"


def _require_speakable(data_folder: Path) -> None:
    # PostgreSQL's own files hold the path as a line among lines.
    if not data_folder.is_absolute() or re.search(r"[\x00-\x1f]", str(data_folder)):
        raise Unplaceable(
            f"The data folder's path {str(data_folder)!r} must be absolute and without "
            "control characters: choose another one."
        )


def make_open(folder: Path) -> None:
    """Make ``folder`` and the one above it: ours, with a way through for everybody."""
    folder.parent.parent.mkdir(parents=True, exist_ok=True)
    for each in (folder.parent, folder):
        _make_own(each, 0o755)
        # A farm's data folder may be there already, for its owner alone.
        each.chmod(stat.S_IMODE(each.stat().st_mode) | 0o111)


def _new_cluster_folder(clusters: Path, data_folder: Path) -> Path:
    """A folder that did not exist: an older farm's at the same path is left alone."""
    try:
        make_open(clusters)
        digest = hashlib.sha256(os.fsencode(data_folder)).hexdigest()[:16]
        for number in count(1):
            folder = clusters / (digest if number == 1 else f"{digest}-{number}")
            if not folder.exists():
                break
        _make_own(folder, 0o755)
    except OSError as error:
        raise Unplaceable(
            f"PostgreSQL's account can't pass to {data_folder}, and {clusters} can't be "
            f"used in its stead ({error}): choose a data folder that all may pass to."
        ) from error
    return folder


def _make_own(folder: Path, mode: int, owner: Account | None = None) -> None:
    """Make ``folder`` with exactly this mode and owner, or find it just so."""
    try:
        folder.mkdir(mode=0o700)
    except FileExistsError:
        _require_own(folder, forbidden=0o777 & ~mode, owner=owner)
        return
    if owner is not None and owner.is_other:
        os.chown(folder, owner.uid, owner.gid)
    folder.chmod(mode)


def _require_own(folder: Path, forbidden: int, owner: Account | None = None) -> None:
    """Refuse what somebody else made ready for us; ``forbidden`` are mode bits."""
    found = folder.lstat()
    uid = os.geteuid() if owner is None else owner.uid
    if not stat.S_ISDIR(found.st_mode):
        raise UnsafeFolder(f"{folder} is not a folder: remove it")
    if found.st_uid != uid:
        raise UnsafeFolder(
            f"{folder} belongs to account number {found.st_uid} and not to {uid}: have "
            "its owner remove it, or start the daemon as that account"
        )
    if found.st_mode & forbidden:
        raise UnsafeFolder(
            f"{folder} is open to other accounts (mode {stat.S_IMODE(found.st_mode):04o}): "
            f"close it with 'chmod {0o777 & ~forbidden:04o}', or remove it"
        )

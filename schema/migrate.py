"""Brings a database to the schema of this release: numbered files, forward only.

A file is applied in one transaction together with its row in ``schema_version``, under
an advisory lock, so that any number of masters may start at once and a crash leaves
either all of a file or nothing of it.
"""

from __future__ import annotations

import argparse
import hashlib
import re
import sys
from collections.abc import Sequence
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path

import psycopg2
import psycopg2.extensions

FOLDER = Path(__file__).parent

#: PostgreSQL's versions before this one lack what the files use (``xid8`` and others).
OLDEST_SERVER = 14

#: Any number that nobody else uses as an advisory lock; "headrace" as bytes.
_LOCK = int.from_bytes(b"headrace", "big")

_FILE_NAME = re.compile(r"(\d{4})_[a-z0-9]+(?:_[a-z0-9]+)*\.sql")

_MAKE_TABLE = """
    CREATE TABLE IF NOT EXISTS schema_version (
        number      integer PRIMARY KEY CHECK (number >= 1),
        name        text NOT NULL UNIQUE,
        sha256      bytea NOT NULL CHECK (length(sha256) = 32),
        applied_at  timestamptz NOT NULL DEFAULT clock_timestamp()
    )
"""


class SchemaError(Exception):
    """The database, or the folder of files, is not what this release needs."""


class BadFolder(SchemaError):
    """The folder's files are not numbered 0001, 0002 ... each once."""


class BrokenFile(SchemaError):
    """PostgreSQL refused a file; nothing of it was kept."""


class ChangedFile(SchemaError):
    """A file differs from what was applied to the database under its number."""


class NewerSchema(SchemaError):
    """The database was migrated by a later release than this one."""


class OlderSchema(SchemaError):
    """The database still lacks files of this release."""


class UnsuitableServer(SchemaError):
    """The server is too old, or the database's encoding is not UTF-8."""


@dataclass(frozen=True)
class _Ledger:
    """Where it stands which files were applied: ours, or those of a plug-in's kind."""

    kind: str | None = None

    def make(self, cursor: psycopg2.extensions.cursor) -> None:
        if self.kind is None:
            cursor.execute(_MAKE_TABLE)

    def applied(self, cursor: psycopg2.extensions.cursor) -> list[_Applied]:
        if self.kind is None:
            cursor.execute("SELECT to_regclass('schema_version') IS NOT NULL")
            if cursor.fetchone() != (True,):
                return []
            cursor.execute(
                "SELECT number, name, sha256 FROM schema_version ORDER BY number"
            )
        else:
            cursor.execute(
                "SELECT number, name, sha256 FROM kind_schema_version WHERE kind = %s"
                " ORDER BY number",
                (self.kind,),
            )
        return [_Applied(number, name, bytes(sha)) for number, name, sha in cursor]

    def add(self, cursor: psycopg2.extensions.cursor, file: _File) -> None:
        row = (file.number, file.name, file.sha256)
        if self.kind is None:
            cursor.execute(
                "INSERT INTO schema_version (number, name, sha256) VALUES (%s, %s, %s)", row
            )
        else:
            cursor.execute(
                "INSERT INTO kind_schema_version (kind, number, name, sha256)"
                " VALUES (%s, %s, %s, %s)",
                (self.kind, *row),
            )

    @property
    def whose(self) -> str:
        """For sentences."""
        return "The database" if self.kind is None else f"The kind of job {self.kind}"


@dataclass(frozen=True)
class _File:
    """One step of the schema."""

    number: int
    name: str
    text: bytes

    @property
    def sha256(self) -> bytes:
        return hashlib.sha256(self.text).digest()


@dataclass(frozen=True)
class _Applied:
    """A row of ``schema_version``."""

    number: int
    name: str
    sha256: bytes


def expected_version(folder: Path | None = None) -> int:
    """The number of the last file: what ``require_current`` asks of a database."""
    return len(_files(folder))


def migrate(dsn: str, folder: Path | None = None) -> list[str]:
    """Apply what is missing, in order; the names of the files that were applied.

    Blocks. ``folder`` is this package's own unless given. What was applied before an
    error stays applied, and a second call goes on from there. Raises a ``SchemaError``
    that says what to do, or ``psycopg2.OperationalError`` if the server can't be reached.
    """
    files = _files(folder)
    return _apply(dsn, files, _Ledger())


def migrate_kind(dsn: str, kind: str, folder: Path) -> list[str]:
    """The same for the files of a plug-in, which are counted for its kind of job alone.

    The database has the schema of this release. The plug-in's files come after ours, and
    each of them is whole or nothing; what they may touch is up to their author.
    """
    return _apply(dsn, _files(folder), _Ledger(kind))


def _apply(dsn: str, files: Sequence[_File], ledger: _Ledger) -> list[str]:
    names: list[str] = []
    with closing(_connect(dsn)) as connection:
        while (name := _apply_next(connection, files, ledger)) is not None:
            names.append(name)
    return names


def require_current(dsn: str, folder: Path | None = None) -> None:
    """Return if the database has exactly the schema of this release; changes nothing.

    Blocks. Raises ``OlderSchema``, ``NewerSchema``, ``ChangedFile`` or
    ``UnsuitableServer``, or ``psycopg2.OperationalError`` if the server can't be reached.
    """
    files = _files(folder)
    ledger = _Ledger()
    with closing(_connect(dsn)) as connection, connection, connection.cursor() as cursor:
        applied = ledger.applied(cursor)
    _compare(applied, files, ledger)
    if len(applied) < len(files):
        raise OlderSchema(
            f"The database has schema version {len(applied)} and this release needs "
            f"{len(files)}: stop the masters of the earlier release, then run "
            f"'python -m schema.migrate DSN'."
        )


def _files(folder: Path | None) -> list[_File]:
    folder = FOLDER if folder is None else folder
    paths = sorted(path for path in folder.iterdir() if path.suffix == ".sql")
    for number, path in enumerate(paths, start=1):
        match = _FILE_NAME.fullmatch(path.name)
        if match is None or int(match[1]) != number:
            raise BadFolder(
                f"{path} should be number {number:04} with a name like "
                f"{number:04}_words.sql: the installation is incomplete or mixed up; "
                f"install Headrace again."
            )
    return [
        _File(number, path.stem, path.read_bytes())
        for number, path in enumerate(paths, start=1)
    ]


def _connect(dsn: str) -> psycopg2.extensions.connection:
    connection = psycopg2.connect(dsn)
    try:
        connection.set_client_encoding("UTF8")
        _require_suitable(connection)
    except BaseException:
        connection.close()
        raise
    return connection


def _require_suitable(connection: psycopg2.extensions.connection) -> None:
    if connection.server_version < OLDEST_SERVER * 10000:
        raise UnsuitableServer(
            f"The server is PostgreSQL {connection.server_version // 10000} and Headrace "
            f"needs {OLDEST_SERVER} or later: upgrade the server."
        )
    encoding = connection.get_parameter_status("server_encoding")
    if encoding != "UTF8":
        raise UnsuitableServer(
            f"The database's encoding is {encoding} and logs and names need UTF-8: "
            f"create it with ENCODING 'UTF8' TEMPLATE template0."
        )


def _compare(applied: Sequence[_Applied], files: Sequence[_File], ledger: _Ledger) -> None:
    if len(applied) > len(files):
        raise NewerSchema(
            f"{ledger.whose} has schema version {len(applied)} "
            f"({applied[-1].name}) and this release knows only {len(files)}: install "
            f"the release that migrated it, or a later one. There is no way back."
        )
    for row, file in zip(applied, files, strict=False):
        if (row.number, row.name, row.sha256) != (file.number, file.name, file.sha256):
            raise ChangedFile(
                f"Schema file {file.name} is not what was applied to the database as "
                f"number {row.number} ({row.name})"
                f"{'' if ledger.kind is None else f' of the kind of job {ledger.kind}'}. "
                f"A released file never changes: "
                f"install Headrace again, and put changes of your own into a new file."
            )


def _apply_next(
    connection: psycopg2.extensions.connection, files: Sequence[_File], ledger: _Ledger
) -> str | None:
    """Apply the first missing file in a transaction of its own, or nothing."""
    with connection, connection.cursor() as cursor:
        # Taken anew for each file: a second migrator goes on where the first one is.
        cursor.execute("SELECT pg_advisory_xact_lock(%s)", (_LOCK,))
        cursor.execute("SET LOCAL client_min_messages = warning")
        ledger.make(cursor)
        applied = ledger.applied(cursor)
        _compare(applied, files, ledger)
        if len(applied) == len(files):
            return None
        file = files[len(applied)]
        _run(connection, file)
        ledger.add(cursor, file)
    return file.name


def _run(connection: psycopg2.extensions.connection, file: _File) -> None:
    with connection.cursor() as cursor:
        try:
            cursor.execute(file.text)
        except psycopg2.OperationalError:
            raise  # the server, not the file: it went away, or was told to stop
        except psycopg2.Error as error:
            raise BrokenFile(
                f"PostgreSQL refused schema file {file.name}, nothing of which was kept: "
                f"{str(error).strip()}"
            ) from error


def main(arguments: Sequence[str] | None = None) -> int:
    """The command; its exit status. 0: the database is current (now)."""
    parser = argparse.ArgumentParser(
        prog="python -m schema.migrate",
        description="Bring a database to the schema of this release.",
    )
    parser.add_argument(
        "dsn", metavar="DSN", help="as libpq takes it; passwords better in ~/.pgpass"
    )
    parser.add_argument(
        "--check", action="store_true", help="change nothing; exit with 1 if not current"
    )
    options = parser.parse_args(arguments)
    try:
        if options.check:
            require_current(options.dsn)
        else:
            for name in migrate(options.dsn):
                print(f"applied {name}")
        print(f"The database has schema version {expected_version()}.")
    except (SchemaError, psycopg2.Error) as error:
        print(str(error).strip(), file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())

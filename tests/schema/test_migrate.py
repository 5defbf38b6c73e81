from __future__ import annotations

import io
import os
import re
import sys
from contextlib import closing, redirect_stderr, redirect_stdout
from pathlib import Path
from subprocess import PIPE, Popen
from tempfile import mkdtemp
from typing import Any

import psycopg2
from twisted.trial.unittest import SynchronousTestCase

from schema import migrate as migrate_module
from schema.migrate import (
    FOLDER,
    BadFolder,
    BrokenFile,
    ChangedFile,
    NewerSchema,
    OlderSchema,
    UnsuitableServer,
    expected_version,
    main,
    migrate,
    require_current,
)
from tests.postgres import empty_dsn, fresh_dsn, server_dsn


class MigrateCase(SynchronousTestCase):
    """A database without a schema, and a folder for files."""

    def setUp(self) -> None:
        self.dsn = empty_dsn(self)
        self.folder = Path(mkdtemp(dir=os.getcwd()))
        self.write("0001_first.sql", "CREATE TABLE first (number integer);")

    def write(self, name: str, text: str) -> Path:
        path = self.folder / name
        path.write_text(text)
        return path

    def ask(self, statement: str) -> list[tuple[Any, ...]]:
        with closing(psycopg2.connect(self.dsn)) as connection, connection:
            cursor = connection.cursor()
            cursor.execute(statement)
            return cursor.fetchall() if cursor.description else []

    def tables(self) -> set[str]:
        rows = self.ask("SELECT tablename FROM pg_tables WHERE schemaname = 'public'")
        return {name for (name,) in rows}


class MigrateTests(MigrateCase):
    def test_files_are_applied_in_order_and_once(self) -> None:
        self.write("0002_second.sql", "INSERT INTO first VALUES (1);")
        self.assertEqual(migrate(self.dsn, self.folder), ["0001_first", "0002_second"])
        self.assertEqual(migrate(self.dsn, self.folder), [])
        self.assertEqual(self.ask("SELECT number FROM first"), [(1,)])

    def test_a_new_file_is_applied_to_a_database_that_has_the_others(self) -> None:
        migrate(self.dsn, self.folder)
        self.write("0002_second.sql", "INSERT INTO first VALUES (1);")
        self.assertEqual(migrate(self.dsn, self.folder), ["0002_second"])

    def test_a_broken_file_leaves_nothing_of_itself_and_all_before_it(self) -> None:
        self.write("0002_second.sql", "CREATE TABLE second (); CREATE TABLE first ();")
        error = self.assertRaises(BrokenFile, migrate, self.dsn, self.folder)
        self.assertIn("0002_second", str(error))
        self.assertIn('"first" already exists', str(error))
        self.assertEqual(self.tables(), {"first", "schema_version"})
        self.write("0002_second.sql", "CREATE TABLE second ();")
        self.assertEqual(migrate(self.dsn, self.folder), ["0002_second"])

    def test_a_percent_sign_is_taken_as_it_stands(self) -> None:
        self.write(
            "0002_second.sql", "CREATE VIEW odd AS SELECT 7 % 4 AS it, '%s' AS text;"
        )
        migrate(self.dsn, self.folder)
        self.assertEqual(self.ask("SELECT * FROM odd"), [(3, "%s")])

    def test_a_file_that_changed_after_its_release_is_refused(self) -> None:
        migrate(self.dsn, self.folder)
        self.write("0001_first.sql", "CREATE TABLE first (number bigint);")
        for check in (migrate, require_current):
            error = self.assertRaises(ChangedFile, check, self.dsn, self.folder)
            self.assertIn("0001_first", str(error))
            self.assertIn("new file", str(error))

    def test_a_renamed_file_is_refused(self) -> None:
        migrate(self.dsn, self.folder)
        (self.folder / "0001_first.sql").rename(self.folder / "0001_other.sql")
        self.assertRaises(ChangedFile, migrate, self.dsn, self.folder)

    def test_a_database_from_the_future_is_refused_and_unchanged(self) -> None:
        second = self.write("0002_second.sql", "CREATE TABLE second ();")
        migrate(self.dsn, self.folder)
        second.unlink()
        for check in (migrate, require_current):
            error = self.assertRaises(NewerSchema, check, self.dsn, self.folder)
            self.assertIn("version 2 (0002_second)", str(error))
            self.assertIn("install the release", str(error))
        self.assertIn("second", self.tables())

    def test_a_gap_in_the_numbers_is_refused(self) -> None:
        self.write("0003_third.sql", "SELECT 1;")
        error = self.assertRaises(BadFolder, migrate, self.dsn, self.folder)
        self.assertIn("0003_third.sql should be number 0002", str(error))
        self.assertEqual(self.tables(), set())

    def test_a_number_used_twice_is_refused(self) -> None:
        self.write("0001_other.sql", "SELECT 1;")
        self.assertRaises(BadFolder, migrate, self.dsn, self.folder)

    def test_a_file_without_a_number_is_refused(self) -> None:
        self.write("notes.sql", "SELECT 1;")
        self.assertRaises(BadFolder, migrate, self.dsn, self.folder)

    def test_a_database_that_can_not_hold_all_names_is_refused(self) -> None:
        name = psycopg2.extensions.parse_dsn(self.dsn)["dbname"] + "_latin"
        with closing(psycopg2.connect(server_dsn(self))) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            cursor.execute(
                f"CREATE DATABASE {name} TEMPLATE template0 ENCODING 'SQL_ASCII' "
                "LC_COLLATE 'C' LC_CTYPE 'C'"
            )
            try:
                dsn = psycopg2.extensions.make_dsn(self.dsn, dbname=name)
                error = self.assertRaises(UnsuitableServer, migrate, dsn, self.folder)
            finally:
                cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
        self.assertIn("UTF-8", str(error))

    def test_an_old_server_is_refused(self) -> None:
        self.patch(migrate_module, "OLDEST_SERVER", 99)
        error = self.assertRaises(UnsuitableServer, migrate, self.dsn, self.folder)
        self.assertIn("needs 99 or later", str(error))

    def test_several_at_once_apply_each_file_once(self) -> None:
        """As masters do that are started together."""
        self.write("0001_first.sql", "CREATE TABLE first (); SELECT pg_sleep(0.2);")
        for number in range(2, 8):
            self.write(f"000{number}_more.sql", f"CREATE TABLE more_{number} ();")
        code = (
            "import sys, pathlib, schema.migrate as it;"
            "print(*it.migrate(sys.argv[1], pathlib.Path(sys.argv[2])))"
        )
        command = [sys.executable, "-c", code, self.dsn, str(self.folder)]
        packages = Path(psycopg2.__file__).parents[1]
        environ = {**os.environ, "PYTHONPATH": f"{FOLDER.parent}:{packages}"}
        three = [Popen(command, env=environ, stdout=PIPE, text=True) for _ in range(3)]
        applied = [name for each in three for name in each.communicate()[0].split()]
        self.assertEqual([each.returncode for each in three], [0, 0, 0])
        self.assertEqual(len(applied), 7)
        self.assertEqual(sorted(applied), sorted(set(applied)))


class RequireCurrentTests(MigrateCase):
    def test_a_migrated_database_is_current(self) -> None:
        migrate(self.dsn, self.folder)
        require_current(self.dsn, self.folder)

    def test_an_empty_one_is_not_and_stays_empty(self) -> None:
        error = self.assertRaises(OlderSchema, require_current, self.dsn, self.folder)
        self.assertIn("python -m schema.migrate", str(error))
        self.assertEqual(self.tables(), set())

    def test_a_server_that_is_away_is_told_as_such(self) -> None:
        with self.assertRaises(psycopg2.OperationalError):
            require_current("host=/nonexistent", self.folder)


class CommandTests(MigrateCase):
    def call(self, *arguments: str) -> tuple[int, str, str]:
        out, errors = io.StringIO(), io.StringIO()
        with redirect_stdout(out), redirect_stderr(errors):
            status = main(arguments)
        return status, out.getvalue(), errors.getvalue()

    def test_it_tells_what_it_applied(self) -> None:
        status, out, _ = self.call(self.dsn)
        self.assertEqual(status, 0)
        self.assertIn("applied 0001_", out)
        self.assertIn(f"schema version {expected_version()}", out)
        self.assertEqual(self.call("--check", self.dsn)[0], 0)

    def test_a_check_changes_nothing(self) -> None:
        status, _, errors = self.call(self.dsn, "--check")
        self.assertEqual(status, 1)
        self.assertIn("schema version 0", errors)
        self.assertEqual(self.tables(), set())

    def test_an_unreachable_server_is_a_sentence(self) -> None:
        status, _, errors = self.call("host=/nonexistent")
        self.assertEqual(status, 1)
        self.assertIn("/nonexistent", errors)
        self.assertNotIn("Traceback", errors)


class ReleasedFilesTests(SynchronousTestCase):
    def test_the_template_of_the_tests_is_current(self) -> None:
        require_current(fresh_dsn(self))

    def test_no_file_ends_its_own_transaction(self) -> None:
        """Half of it would stay after an error, without a row in schema_version."""
        for path in FOLDER.glob("*.sql"):
            bare = re.sub(r"--[^\n]*|(?s:\$\$.*?\$\$)", "", path.read_text())
            found = re.search(r"(?im)^\s*(begin|commit|rollback|end)\b.*;", bare)
            self.assertRegex(bare, "(CREATE|ALTER) (TABLE|FUNCTION|VIEW)")
            self.assertIsNone(found, path.name)

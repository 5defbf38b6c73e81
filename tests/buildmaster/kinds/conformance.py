"""What holds for every kind of job; authors of kinds run it for theirs, too."""

from __future__ import annotations

from typing import Any

import psycopg2

from buildmaster.graph import check
from buildmaster.kinds.builtin import BUILT_IN
from buildmaster.kinds.interface import After, EndedJob
from buildmaster.kinds.registry import Kinds, problem_of
from buildmaster.requests import GraphRequest
from protocol.results import Result
from schema.migrate import migrate_kind
from tests.postgres import fresh_dsn


class KindConformance:
    """Mix it into a test case, and say which kind."""

    #: The plug-in, an `IJobKind`.
    kind: Any
    #: Arguments of a job as people ask for one.
    arguments: dict[str, Any] = {}
    #: What its callable returns for them.
    output: dict[str, Any] | None = None

    def ends(self: Any) -> list[EndedJob]:
        """Ends of jobs, expected and strange ones."""
        return [
            EndedJob(
                id=number,
                attempt=1,
                kind=self.kind.name,
                name="test",
                owner="ann",
                result=result.value,
                reason="" if result is Result.SUCCESS else "for a test",
                arguments=arguments,
                output=output,
            )
            for number, (result, arguments, output) in enumerate(
                [
                    (result, arguments, output)
                    for result in Result
                    for arguments in (self.arguments, {}, {"nonsense": [None]})
                    for output in (self.output, None)
                ],
                1,
            )
        ]

    def test_is_a_kind(self: Any) -> None:
        self.assertIs(problem_of(self.kind), None)
        if self.kind not in BUILT_IN:
            self.assertEqual(Kinds([self.kind]).plugged, [self.kind])

    def test_takes_every_end(self: Any) -> None:
        """No result, and nothing that a job can have, makes it raise."""
        for end in self.ends():
            after = self.kind.ended(end)
            self.assertIsInstance(after, After | None)
            if after is not None and after.jobs:
                kinds = Kinds([self.kind])
                check(GraphRequest(jobs=after.jobs), kinds.rules_of)

    def test_its_files_apply_once_and_what_follows_is_sql(self: Any) -> None:
        dsn = fresh_dsn(self)
        if self.kind.sql_folder is not None:
            self.assertNotEqual(migrate_kind(dsn, self.kind.name, self.kind.sql_folder), [])
            self.assertEqual(migrate_kind(dsn, self.kind.name, self.kind.sql_folder), [])
        connection = psycopg2.connect(dsn)
        self.addCleanup(connection.close)
        with connection, connection.cursor() as cursor:
            for end in self.ends():
                after = self.kind.ended(end)
                for statement in after.statements if after else ():
                    cursor.execute(statement.sql, statement.parameters)
            if self.kind.document is not None:
                cursor.execute(f"SELECT {self.kind.document}(1)::json")
                self.assertEqual(cursor.rowcount, 1)

from __future__ import annotations

from contextlib import closing
from typing import get_args, get_type_hints

import psycopg2
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.dependencies import Require
from buildmaster.grants import Scope
from buildmaster.lifecycle import JobState
from buildmaster.people.person import Way
from buildmaster.planning.model import MODES
from buildmaster.status.questions import RunState
from buildmaster.status.questions import WorkflowState as StatusState
from buildmaster.store.workflows import WorkflowState
from protocol.messages import Offer
from protocol.order import Order
from protocol.results import Result
from tests.postgres import fresh_dsn


class EnumTests(SynchronousTestCase):
    """The database and the code use the same words."""

    def setUp(self) -> None:
        connection = psycopg2.connect(fresh_dsn(self))
        with closing(connection), connection.cursor() as cursor:
            cursor.execute(
                "SELECT typname, array_agg(enumlabel::text ORDER BY enumsortorder) "
                "FROM pg_enum JOIN pg_type ON pg_type.oid = enumtypid GROUP BY typname"
            )
            self.types: dict[str, list[str]] = dict(cursor)

    def test_results(self) -> None:
        self.assertEqual(self.types["job_result"], [each.value for each in Result])

    def test_job_states(self) -> None:
        self.assertEqual(self.types["job_state"], [each.value for each in JobState])

    def test_requirements_of_edges(self) -> None:
        self.assertEqual(self.types["edge_require"], [each.value for each in Require])

    def test_isolations(self) -> None:
        for message in (Offer, Order):
            allowed = get_args(get_type_hints(message)["isolation"])
            self.assertEqual(self.types["isolation"], list(allowed))

    def test_modes_across_architectures(self) -> None:
        self.assertEqual(self.types["cross_architecture"], list(MODES))

    def test_scopes(self) -> None:
        self.assertEqual(self.types["token_scope"], [each.value for each in Scope])

    def test_workflow_states(self) -> None:
        self.assertEqual(
            self.types["workflow_state"], [each.value for each in WorkflowState]
        )
        self.assertEqual(self.types["workflow_state"], list(get_args(StatusState)))

    def test_ways_of_people(self) -> None:
        self.assertEqual(self.types["person_way"], list(get_args(Way)))

    def test_run_states(self) -> None:
        self.assertEqual(self.types["run_state"], list(get_args(RunState)))

"""What nobody can ask about any more goes, a bounded part at a time; the rest stays."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

from buildmaster import tidying
from buildmaster.status.questions import WorkflowTimeline
from buildmaster.store import workflows as store
from buildmaster.store.documents.workflows import workflow_document, workflow_history
from buildmaster.tidying import Tidying
from tests.buildmaster.orchestration.stage import WorkflowCase
from tests.buildmaster.orchestration.test_stepping import Long, Sleeper, Steps
from tests.buildmaster.workflow import samples

DAY = 86400.0


class HistoryTests(WorkflowCase):
    """Histories of workflows."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.there = self.master(Sleeper, Long, Steps, samples.Counter)

    async def ended(self, name: str, days: float) -> None:
        """A workflow that ended so many days ago."""
        await self.there.control.start("Sleeper", [0.0], "ann", name=name)
        await self.there.go_on()
        await self.database.run(
            "UPDATE workflow SET finished_at = finished_at - make_interval(days => %s)"
            " WHERE name = %s",
            (int(days), name),
        )

    async def tidy(self, days: float | None = 90) -> None:
        await Tidying(self.database, None if days is None else days * DAY).round()

    async def left(self, name: str) -> tuple[int, int]:
        """Its events and its commands."""
        of_it = f"WHERE workflow = (SELECT id FROM workflow WHERE name = '{name}')"
        return (
            await self.count(f"workflow_event {of_it}"),
            await self.count(f"workflow_command {of_it}"),
        )

    async def test_what_ended_long_ago_goes_and_the_rest_stays(self) -> None:
        await self.ended("old", 91)
        await self.ended("young", 89)
        await self.there.control.start("Long", [], "ann", name="open")
        await self.there.go_on()
        await self.database.run("UPDATE workflow_event SET at = at - interval '900 days'")
        await self.tidy()
        self.assertEqual(await self.left("old"), (0, 0))
        self.assertEqual(await self.left("young"), (2, 1))
        self.assertEqual((await self.left("open"))[0], 1)
        # Its end stays.
        self.assertEqual(await self.state("old"), ("done", "success", "", "awake"))
        text = await workflow_document(self.database, "old")
        assert text is not None
        self.assertIn('"awake"', text)

    async def test_null_keeps_all_for_good(self) -> None:
        await self.ended("old", 9000)
        await self.tidy(None)
        self.assertEqual(await self.left("old"), (2, 1))

    async def test_a_transaction_removes_a_bounded_part(self) -> None:
        for number in range(4):
            await self.ended(f"old-{number}", 91)
        self.patch(tidying, "BATCH", 5)
        rows = [await self._rows()]
        transaction = self.database.transaction

        async def counted(work: Any) -> Any:
            done = await transaction(work)
            rows.append(await self._rows())
            return done

        self.patch(self.database, "transaction", counted)
        await self.tidy()
        steps = [before - after for before, after in pairwise(rows)]
        self.assertEqual((rows[0], rows[-1]), (12, 0))
        self.assertLessEqual(max(steps), 5)
        self.assertEqual(
            await self.count("workflow WHERE history_removed_at IS NOT NULL"), 4
        )

    async def _rows(self) -> int:
        return await self.count("workflow_event") + await self.count("workflow_command")

    async def test_who_asks_for_a_removed_one_is_told_so(self) -> None:
        await self.ended("old", 91)
        await self.tidy()
        control = self.there.control
        for asking in (control.history("old"), control.query("old", "x", [])):
            error = await self.refused(asking)
            self.assertEqual((error.status, error.code), (410, "history_removed"))
            self.assertIn("The history of workflow old was removed on 20", str(error))
        text = await workflow_history(self.database, WorkflowTimeline(workflow="old"))
        assert text is not None
        self.assertIn('"history" : []', text)
        self.assertIn('"removed_at" : "20', text)
        # Its name can be taken, and signals are answered as before.
        sent = await control.signal("old", "late", [], "x")
        self.assertEqual(sent.state, "done")
        started = await control.start(
            "Sleeper", [0.0], "ann", name="old", on_duplicate="replace-after-close"
        )
        self.assertFalse(started.joined)

    async def test_signals_after_the_end_go_as_well(self) -> None:
        await self.ended("old", 91)
        await self.tidy()
        await self.there.control.signal("old", "late", [], "x")
        await self.tidy()
        self.assertEqual(await self.left("old"), (1, 0))
        await self.database.run("UPDATE workflow_event SET at = at - interval '91 days'")
        await self.tidy()
        self.assertEqual(await self.left("old"), (0, 0))

    async def test_generations_that_were_left_behind_go_and_it_goes_on(self) -> None:
        await self.there.control.start("Counter", [], "ann", name="c")
        for number in range(1, 5):
            await self.there.control.signal("c", "count", [number], "x", f"m{number}")
        await self.there.go_on()
        (generation,) = await self.database.one("SELECT generation FROM workflow")
        self.assertEqual(generation, 3)
        await self.tidy()
        self.assertEqual(await self._generations(), [1, 2, 3])
        await self.database.run(
            "UPDATE workflow_event SET at = at - interval '91 days' WHERE generation <= 2"
        )
        await self.tidy()
        # The second ended when the third began, which is not so long ago.
        self.assertEqual(await self._generations(), [2, 3])
        await self.database.run("UPDATE workflow_event SET at = at - interval '91 days'")
        await self.tidy()
        self.assertEqual(await self._generations(), [3])
        error = await self.refused(self.there.control.history("c", 1))
        self.assertEqual(error.code, "history_removed")
        seeds = await self._seeds()
        other = self.master(samples.Counter)
        for number in range(5, 7):
            await other.control.signal("c", "count", [number], "x", f"m{number}")
        await other.go_on()
        self.assertEqual((await self.state("c"))[3], 21)
        self.assertEqual(await self._seeds(), seeds)
        self.assertEqual(len(seeds), 1)

    async def _generations(self) -> list[int]:
        rows = await self.database.rows(
            "SELECT DISTINCT generation FROM workflow_event WHERE n IS NOT NULL ORDER BY 1"
        )
        return [generation for (generation,) in rows]

    async def _seeds(self) -> set[str]:
        rows = await self.database.rows(
            "SELECT payload ->> 'seed' FROM workflow_event WHERE type = 'started'"
        )
        return {seed for (seed,) in rows}

    async def test_the_database_refuses_to_forget_one_that_is_open(self) -> None:
        await self.there.control.start("Long", [], "ann", name="open")
        with self.assertRaises(Exception) as caught:
            await self.database.run("UPDATE workflow SET history_removed_at = farm_now()")
        self.assertIn("history_of_an_open_workflow_stays", str(caught.exception))

    async def test_masters_that_tidy_at_once_do_not_wait_for_each_other(self) -> None:
        for number in range(3):
            await self.ended(f"old-{number}", 91)

        async def first(cursor: Any) -> None:
            await store.forget_histories(cursor, 90 * DAY, 3)
            # Another one, meanwhile: it finds nothing that it could have.
            await self.tidy()
            self.assertEqual(await self.count("workflow_event"), 6)

        await self.database.transaction(first)
        await self.tidy()
        self.assertEqual(await self.count("workflow_event"), 0)

"""The grid, and a run as a graph: what they show, page by page, and whose."""

from __future__ import annotations

from typing import Any
from unittest.mock import patch

from buildmaster.status import documents as d
from buildmaster.status import questions as q
from buildmaster.status.problems import StatusProblem
from buildmaster.store.documents import graphs, grid
from tests.buildmaster.http.rows import HOSTILE
from tests.buildmaster.status.test_reading import StatusCase

ELSEWHERE = "https://example.com/elsewhere.git"


class GridTests(StatusCase):
    async def grid(self, **asked: Any) -> d.Grid:
        return (await self.status.grid(q.Grid(**asked))).read()

    async def runs(self, **asked: Any) -> list[int]:
        return [row.run for row in (await self.grid(**asked)).rows]

    async def native(self, run: int, **columns: Any) -> int:
        """A job of another kind and architecture."""
        await self.database.run(
            """INSERT INTO job_class (architecture, isolation, series, tags, performs)
               VALUES ('arm64', 'native', '{}', '{}', 'noop') ON CONFLICT DO NOTHING"""
        )
        [other] = await self.database.one(
            "SELECT id FROM job_class WHERE performs = 'noop'"
        )
        job = await self.rows.job(
            kind="native", **{"name": "noop", "class": other}, **columns
        )
        await self.database.run("DELETE FROM build WHERE job = %s", (job,))
        await self.database.run("INSERT INTO run_job VALUES (%s, %s)", (run, job))
        return job

    async def test_a_cell_says_how_a_job_stands_in_its_column(self) -> None:
        run = await self.rows.run(name=HOSTILE, refs=["main", HOSTILE])
        done = await self.rows.job(
            run,
            name=HOSTILE,
            state="done",
            result="failure",
            reason="x",
            started_at="2026-01-01 12:00:00.000001+00",
            finished_at="2026-01-01 12:00:01+00",
        )
        await self.rows.attempt(done)
        await self.database.run(
            """INSERT INTO classified (job, attempt, classification, classified_by)
               VALUES (%s, 1, 'known_issue', 'ada')""",
            (done,),
        )
        waits = await self.rows.job(run, name=HOSTILE)
        other = await self.native(run)
        page = await self.grid()
        [row] = page.rows
        self.assertEqual((row.run, row.name, row.refs), (run, HOSTILE, ("main", HOSTILE)))
        self.assertEqual((row.state, row.more), ("open", False))
        cells = {cell.job: cell for cell in row.cells}
        self.assertEqual(set(cells), {done, waits, other})
        noon = 1767268800_000000
        self.assertEqual(
            cells[done],
            d.Cell(
                cells[waits].column, done, "done", "failure", noon + 1, noon + 1_000_000,
                "known_issue", 1, None,
            ),
        )  # fmt: skip
        column = page.columns[cells[done].column]
        self.assertEqual(
            (column.name, column.architecture, column.series, column.kind, column.index),
            (HOSTILE, "amd64", "bookworm", "build", None),
        )
        column = page.columns[cells[other].column]
        self.assertEqual(
            (column.name, column.architecture, column.series, column.kind),
            ("noop", "arm64", "", "native"),
        )
        self.assertEqual(len(page.columns), 2)

    async def test_jobs_of_one_name_have_columns_by_cell_and_part(self) -> None:
        run = await self.rows.run()
        for cell, part in (("arch=a", 0), ("arch=a", 1), ("arch=b", 0)):
            await self.rows.job(run, cell=cell, part=part)
        page = await self.grid()
        self.assertEqual([cell.column for cell in page.rows[0].cells], [0, 1, 2])
        self.assertEqual(
            [(each.cell, each.part) for each in page.columns],
            [("arch=a", 0), ("arch=a", 1), ("arch=b", 0)],
        )

    async def test_pipeline_jobs_are_those_of_the_current_attempt(self) -> None:
        run = await self.rows.run()
        job = await self.rows.job(run, attempt=2)
        for number in (1, 2):
            await self.rows.attempt(job, number)
            await self.rows.end_attempt(job, number)
        await self.database.run(
            """INSERT INTO pipeline_job (job, attempt, name, index, stage, place, series,
                                         state, result, reason)
               VALUES (%s, 2, 'test', 1, 1, 0, 'trixie', 'done', 'timeout', 'late')""",
            (job,),
        )
        page = await self.grid(cells="pipeline_jobs")
        [row] = page.rows
        told = [
            (page.columns[cell.column].series, cell.index, cell.state, cell.attempt)
            for cell in row.cells
        ]
        self.assertEqual(told, [("bookworm", 0, "waiting", 2), ("trixie", 1, "done", 2)])
        self.assertEqual(
            [(each.name, each.index, each.kind) for each in page.columns],
            [("test", 0, "build"), ("test", 1, "build")],
        )

    async def test_every_filter_narrows_and_all_of_them_together(self) -> None:
        run = await self.rows.run(repository=ELSEWHERE, owner="eve")
        job = await self.native(run)
        await self.rows.job(run)
        builds = await self.rows.run()
        await self.rows.job(builds)
        empty = await self.rows.run()
        self.assertEqual(await self.runs(), [empty, builds, run])
        matching = {
            "repository": ELSEWHERE,
            "owner": "eve",
            "architecture": "arm64",
            "kind": "native",
        }
        for name, value in matching.items():
            self.assertEqual(await self.runs(**{name: value}), [run], name)
            self.assertEqual(await self.runs(**{**matching, name: "other"}), [], name)
        [row] = (await self.grid(**matching)).rows
        self.assertEqual([cell.job for cell in row.cells], [job])
        self.assertEqual(await self.runs(kind="build"), [builds, run])

    async def test_pages_follow_each_other_and_stay_within_their_cells(self) -> None:
        runs = [await self.rows.run() for _ in range(5)]
        for run in runs[1:]:
            for name in "abc":
                await self.rows.job(run, name=name)
        await self.rows.job(runs[0], name="a")
        for most, sizes in ((20_000, [2, 2, 1]), (4, [1, 1, 1, 2]), (2, [1, 1, 1, 1, 1])):
            seen, after, found = [], None, []
            with patch.object(grid, "MOST_CELLS", most):
                while True:
                    page = await self.grid(limit=2, after=after)
                    seen += [row.run for row in page.rows]
                    found.append(len(page.rows))
                    self.assertLessEqual(sum(len(row.cells) for row in page.rows), most)
                    for row in page.rows:
                        self.assertEqual(row.more, most == 2 and row.run != runs[0])
                    if (after := page.next) is None:
                        break
            self.assertEqual((seen, found), (runs[::-1], sizes), most)

    async def test_a_page_for_what_is_rare_goes_on_where_it_stopped_looking(self) -> None:
        rare = await self.rows.run()
        await self.native(rare)
        for _ in range(5):
            await self.rows.job(await self.rows.run())
        pages, after = [], None
        with patch.object(grid, "LOOKED_AT", 2):
            while True:
                page = await self.grid(kind="native", after=after)
                pages.append([row.run for row in page.rows])
                if (after := page.next) is None:
                    break
        self.assertEqual(pages, [[], [], [rare], []])

    async def test_a_job_of_two_runs_stands_in_both_rows(self) -> None:
        runs = [await self.rows.run(), await self.rows.run()]
        job = await self.rows.job(runs[0])
        await self.database.run(
            "INSERT INTO run_job (run, job, merged) VALUES (%s, %s, true)", (runs[1], job)
        )
        page = await self.grid()
        self.assertEqual([row.cells[0].job for row in page.rows], [job, job])


class GraphTests(StatusCase):
    async def graph(self, run: int) -> d.RunGraph:
        return (await self.status.graph(q.OneRun(run=run))).read()

    async def test_a_graph_has_the_jobs_of_the_run_and_their_edges_only(self) -> None:
        run, other = await self.rows.run(), await self.rows.run()
        up = await self.rows.job(run, name=HOSTILE, reason=HOSTILE)
        down = await self.rows.job(run)
        foreign = await self.rows.job(other, name="secret")
        for ends in ((up, down, 0), (foreign, down, None), (down, foreign, None)):
            await self.database.run(
                "INSERT INTO edge (up, down, up_stage) VALUES (%s, %s, %s)", ends
            )
        graph = await self.graph(run)
        self.assertEqual([node.id for node in graph.nodes], [up, down])
        self.assertEqual(graph.nodes[0].name, HOSTILE)
        self.assertEqual(graph.nodes[0].stages, (("test:0",),))
        self.assertEqual(
            [(e.from_, e.to, e.stage, e.require) for e in graph.edges],
            [(up, down, 0, "good")],
        )
        self.assertEqual((graph.id, graph.job_count, graph.more), (run, 2, False))

    async def test_titles_of_pipeline_jobs_keep_their_stages_and_order(self) -> None:
        run = await self.rows.run()
        job = await self.rows.job(run)
        await self.database.run(
            "UPDATE build SET stages = %s, stage_numbers = '{0,2}' WHERE job = %s",
            ('[[["b", 0], ["<a>\\n", 1]], [["c", 0]]]', job),
        )
        [node] = (await self.graph(run)).nodes
        self.assertEqual(node.stages, (("b:0", "<a>\n:1"), ("c:0",)))

    async def test_a_large_graph_is_cut_and_says_so(self) -> None:
        run = await self.rows.run()
        jobs = [await self.rows.job(run, name=name) for name in "abcd"]
        for down in jobs[1:]:
            await self.database.run(
                "INSERT INTO edge (up, down) VALUES (%s, %s)", (jobs[0], down)
            )
        self.assertFalse((await self.graph(run)).more)
        with patch.object(graphs, "MOST_NODES", 3):
            graph = await self.graph(run)
            self.assertEqual([node.id for node in graph.nodes], jobs[:3])
            self.assertEqual((len(graph.edges), graph.more), (2, True))
        with patch.object(graphs, "MOST_EDGES", 2):
            graph = await self.graph(run)
            self.assertEqual((len(graph.nodes), len(graph.edges)), (4, 2))
            self.assertTrue(graph.more)

    async def test_a_run_that_is_not_there_has_no_graph(self) -> None:
        with self.assertRaises(StatusProblem) as caught:
            await self.graph(7)
        self.assertEqual(caught.exception.status, 404)

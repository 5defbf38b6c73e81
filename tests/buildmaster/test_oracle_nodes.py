"""Whole files of jobs that refer to each other against an oracle, from text to results.

``HEADRACE_GRAPHS`` says how many files, ``HEADRACE_SEED`` which ones; ``HEADRACE_EXAMPLE``
is one that a failure told.
"""

from __future__ import annotations

import json
import os
import shlex
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from hypothesis import HealthCheck, example, given, seed, settings
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.store.audit import audit
from tests.buildmaster.nodes_game import CONTENTS, Game, prepare
from tests.direct import Direct
from tests.laws import IS_LONG
from tests.oracle import Wrong
from tests.oracle_expansion import cell_text
from tests.oracle_files import INCLUDED, File, files
from tests.oracle_reuse import Origin
from tests.postgres import fresh_dsn

GRAPHS = int(os.environ.get("HEADRACE_GRAPHS", 3_000 if IS_LONG else 60))
SEED = int(os.environ.get("HEADRACE_SEED", 0))
EXAMPLE = json.loads(os.environ.get("HEADRACE_EXAMPLE", '[{"jobs": {}}, 0]'))
#: How many files share a database.
SHARED = 50
EPOCH = datetime(2026, 1, 1, tzinfo=UTC)


class _Games(SynchronousTestCase):
    """Plays games, each beside the oracle."""

    books: Direct | None = None
    played = 0

    def tearDown(self) -> None:
        self._forget()

    def _forget(self) -> None:
        if self.books is not None:
            self.books.close()
            self.books = None
            self.doCleanups()

    @contextmanager
    def game(self, file: File, number: int = 0) -> Iterator[Game]:
        """A game in a database that at most so many others have used."""
        if self.books is None or self.played % SHARED == 0:
            self._forget()
            self.books = Direct(fresh_dsn(self))
            prepare(self.books)
        self.played += 1
        began = EPOCH + timedelta(days=self.played)
        game = Game(self.books, self.played, began, file, number)
        try:
            yield game
            if (found := self.books.act(audit)) != []:
                raise Wrong(f"the auditor says: {'; '.join(map(str, found))}")
        except Exception as error:
            # What is left in the books would be in the way of the next one.
            self._forget()
            played = json.dumps([file, number])
            log = "\n".join(map(str, game.log))
            raise AssertionError(
                f"{error!r}\n{log}\nHEADRACE_EXAMPLE={shlex.quote(played)}"
            ) from error


class NodeOracleTests(_Games):
    @seed(SEED)
    @settings(
        max_examples=GRAPHS,
        deadline=None,
        database=None,
        suppress_health_check=list(HealthCheck),
    )
    @given(files(), st.integers(0, 2**32))
    @example(*EXAMPLE)
    def test_random_files_run_as_they_should(self, file: File, number: int) -> None:
        with self.game(file, number) as game:
            game.play()


class NamedFileTests(_Games):
    """What a few files must come to, said plainly; the oracle agrees."""

    def submit(
        self, game: Game, commit: str, trigger: str | None = None
    ) -> dict[str, tuple[str | None, tuple[str, ...]]]:
        """Of a commit, once all of it has passed: how each ended, about which packages."""
        origin = Origin("https://git.example/p", commit * 40, "trusted")
        self.assertTrue(game.ask(origin, game.file, trigger))
        game.compare()
        game.drain()
        run = max(game.oracle.runs)
        return {
            f"{facts.node.name} {cell_text(facts.node.cell)}".rstrip(): (
                game.oracle.jobs[job].result,
                facts.changed,
            )
            for job in game.oracle.runs[run].jobs
            if (facts := game.oracle.facts[job])
        }

    def test_two_tops_that_share_a_package_publish_once(self) -> None:
        file: File = {
            "packages": {
                "A": {"paths": ["a"], "depends": ["B"]},
                "D": {"paths": ["d"], "depends": ["B"]},
                "B": {"paths": ["b"]},
            },
            "jobs": {
                "build": {"per_package": True, "run": "x"},
                "publish": {"needs": ["build"], "run": "x"},
            },
        }
        with self.game(file) as game:
            first = self.submit(game, "1")
            self.assertEqual(set(first), {"A/build", "B/build", "D/build", "A,D/publish"})
            self.assertEqual(first["A,D/publish"], ("success", ("A", "D", "B")))
            game.content["d"] += 1
            second = self.submit(game, "2")
            self.assertEqual(second["A,D/publish"], ("success", ("D",)))
            self.assertEqual(second["B/build"][0], "reused")
            third = self.submit(game, "3")
            self.assertEqual({one[0] for one in third.values()}, {"reused", "skipped"})
            game.content["b"] += 1
            fourth = self.submit(game, "4")
            self.assertEqual(fourth["A,D/publish"], ("success", ("A", "D", "B")))

    def test_a_component_publishes_what_changed_at_once(self) -> None:
        file: File = {
            "packages": {
                "A": {"paths": ["a"], "depends": ["B", {"name": "C", "rebuild": True}]},
                "B": {"paths": ["b"]},
                "C": {"paths": ["c"]},
            },
            "jobs": {
                "build": {"per_package": True, "run": "x"},
                "publish": {"scope": "component", "needs": ["build"], "run": "x"},
            },
        }
        with self.game(file) as game:
            self.submit(game, "1")
            game.content["c"] += 1
            found = self.submit(game, "2")
            self.assertEqual(found["A/publish"], ("success", ("A", "C")))
            self.assertEqual(found["B/build"][0], "reused")
            self.assertEqual(len(found), 4)

    def test_a_change_that_makes_the_same_files_ends_there(self) -> None:
        file: File = {
            "packages": {"A": {"paths": ["a"], "depends": ["B"]}, "B": {"paths": ["b"]}},
            "jobs": {
                "build": {"per_package": True, "cutoff": True, "run": "x"},
                "publish": {"needs": ["build"], "run": "x"},
            },
        }
        with self.game(file) as game:
            game.makes = {"p.deb": CONTENTS[0]}
            self.submit(game, "1")
            game.content["b"] += 1
            second = self.submit(game, "2")
            self.assertEqual(second["B/build"][0], "success")
            self.assertEqual(second["A/build"][0], "reused")
            self.assertEqual(second["A/publish"], ("success", ("B",)))
            game.makes = {"p.deb": CONTENTS[1]}
            game.content["b"] += 1
            self.assertEqual(self.submit(game, "3")["A/build"][0], "success")

    def test_what_builds_upon_a_change_that_ended_is_reused_as_well(self) -> None:
        usual = {"reuse": "inputs", "run": "x"}
        file: File = {
            "jobs": {
                "make": {**usual, "paths": ["a"]},
                "build": {"paths": ["b"], "needs": ["make"], "cutoff": True, "run": "x"},
                "test": {**usual, "paths": ["b"], "needs": ["build"]},
            }
        }
        with self.game(file) as game:
            game.makes = {"p.deb": CONTENTS[0]}
            self.submit(game, "1")
            game.content["a"] += 1
            found = self.submit(game, "2")
            self.assertEqual(
                {name: result for name, (result, _) in found.items()},
                {"make": "success", "build": "reused", "test": "reused"},
            )

    def test_what_is_published_without_needs_goes_out_when_it_changes(self) -> None:
        file: File = {
            "packages": {"A": {"paths": ["a"]}},
            "jobs": {"publish": {"scope": "component", "run": "x"}},
        }
        with self.game(file) as game:
            results = []
            for commit in "12":
                results.append(self.submit(game, commit)["A/publish"][0])
                game.content["b"] += 1
            game.content["a"] += 1
            results.append(self.submit(game, "3")["A/publish"][0])
            self.assertEqual(results, ["success", "skipped", "success"])
            # A tree that is put back goes out again.
            game.content["a"] = 0
            self.assertEqual(self.submit(game, "4")["A/publish"][0], "success")

    def test_each_cell_is_published(self) -> None:
        file: File = {
            "packages": {"A": {"paths": ["a"]}},
            "jobs": {
                "build": {"per_package": True, "run": "x"},
                "publish": {
                    "needs": ["build"],
                    "matrix": {"arch": ["amd64", "arm64"]},
                    "run": "x",
                },
            },
        }
        with self.game(file) as game:
            game.ask(Origin("https://git.example/p", "1" * 40, "trusted"), file)
            game.claim(whole=True)
            game.end_one(game.oracle.jobs[min(game.oracle.jobs)], "success")
            game.claim(whole=True)
            for job in [job for job in game.oracle.jobs.values() if job.is_at_work]:
                is_one = ("arch", "amd64") in game.oracle.facts[job.id].node.cell
                game.end_one(job, "failure" if is_one else "success")
            found = self.submit(game, "2")
            self.assertEqual(found["A/publish arch=amd64"][0], "success")
            self.assertEqual(found["A/publish arch=arm64"][0], "skipped")

    def test_what_waits_only_for_what_is_over_is_reused_all_the_same(self) -> None:
        file: File = {
            "jobs": {
                "build": {"run": "x"},
                "test": {
                    "needs": ["build"],
                    "reuse": "inputs",
                    "trigger": "pull_request",
                    "run": "x",
                },
            },
        }
        with self.game(file) as game:
            self.submit(game, "1")
            self.submit(game, "2", "push")
            found = self.submit(game, "2", "pull_request")
            self.assertEqual(found["test"][0], "reused")

    def test_files_of_a_pipeline_lie_in_folders_of_its_jobs(self) -> None:
        file: File = {
            "jobs": {
                "build": {"lpci": INCLUDED, "architectures": "arm64"},
                "test": {"needs": ["build"], "run": "x"},
            }
        }
        with self.game(file) as game:
            for commit in "1234":
                found = self.submit(game, commit)
                self.assertEqual(found["test"][0], "success")
            folders = {
                path.rsplit("/", 1)[0]
                for job in game.oracle.jobs
                for path in game.oracle.handed(job).get("build", {})
            }
            self.assertEqual(folders, {"check/0"})

    def test_one_of_a_choice_suffices_when_it_is_run_again(self) -> None:
        file: File = {
            "jobs": {
                "build": {"matrix": {"aa": ["x", "y"]}, "run": "x"},
                "test": {"needs": [{"job": "build", "map": "any"}], "run": "x"},
            }
        }
        with self.game(file) as game:
            self.submit(game, "1")
            [run] = game.oracle.runs
            game.rerun_some(run, "from-here", "build")
            game.compare()
            game.claim(whole=True)
            one, other = (job for job in game.oracle.jobs.values() if job.is_at_work)
            for job, result in ((one, "failure"), (other, "success")):
                game.end_one(job, result)
                game.compare()
            game.drain()
            self.assertEqual(game.oracle.jobs[max(game.oracle.jobs)].result, "success")

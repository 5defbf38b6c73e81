"""A job fails, is tried again with a hold, is entered, and is reproduced elsewhere."""

from __future__ import annotations

from twisted.trial.unittest import TestCase

from tests.farm import Farm, farm, folder_for, headrace, work_tree

CONFIGURATION = """\
pipeline: [make, check]
jobs:
  make:
    series: bookworm
    architectures: [amd64, arm64]
    run: echo made > made.txt
    output: {paths: [made.txt]}
  check:
    series: bookworm
    architectures: [amd64, arm64]
    input: {job-name: make, target-directory: in}
    environment: {OWN: mine}
    run: |
      cat in/files/made.txt
      echo left > left.txt
      echo own > ../own.txt
      cat file
      test -e /no/such/file
    output: {paths: [left.txt]}
"""


class LingeringTests(TestCase):
    timeout = 240

    async def setUp(self) -> None:  # type: ignore[override]
        self.farm: Farm = await farm(self)
        tree = work_tree(self, CONFIGURATION, file="of the tree\n")
        said = await self.farm.headrace("run", str(tree))
        self.assertEqual(said.status, 1, said.all)

    async def test_it_is_held_entered_and_released(self) -> None:
        said = await self.farm.headrace("shell", "1")
        self.assertEqual(said.status, 1)
        self.assertIn("headrace retry 1 --hold 1h", said.all)
        said = await self.farm.headrace("retry", "1", "--hold", "1h")
        self.assertEqual(said.status, 0, said.all)
        said = await self.farm.headrace("logs", "-f", "1")
        self.assertIn("its environment is held for 3600 s: headrace shell 1", said.all)
        said = await self.farm.headrace("show", "1")
        self.assertIn("check:0 until 20", said.out)
        data = str(self.farm.folder / "workers" / "worker-1")
        enter = ("shell", "1", "--data", data, "--reason", "why does it fail?")
        said = await self.farm.headrace(
            *enter, "--run", "cat left.txt in/files/made.txt; echo $OWN; exit 4"
        )
        self.assertEqual((said.out, said.status), ("left\nmade\nmine\n", 4), said.all)
        said = await self.farm.headrace("shell", "1", "--data", "/no/such")
        self.assertEqual(said.status, 1)
        self.assertIn("held until 20", said.all)
        self.assertIn("On the machine of worker-1", said.all)
        said = await self.farm.headrace(*enter, "--release")
        self.assertEqual(said.status, 0, said.all)
        builds = self.farm.folder / "workers" / "worker-1" / "builds"
        while any(builds.iterdir()):
            await self.farm.headrace("show", "1")
        [job] = (await self.farm.headrace("show", "1", "--json")).document
        self.assertIn("lingers_until", job["pipeline_jobs"][0])

    async def test_a_farm_that_stops_leaves_nothing(self) -> None:
        await self.farm.headrace("retry", "1", "--hold", "1h")
        await self.farm.headrace("logs", "-f", "1")
        self.assertEqual(await self.farm.stop(), 0)
        builds = self.farm.folder / "workers" / "worker-1" / "builds"
        for place in builds.glob("*/environments/*"):
            self.fail(f"{place} is left")

    async def test_the_same_is_run_elsewhere(self) -> None:
        """Without the farm's worker, its outputs or its leave to write anything."""
        place = folder_for(self) / "again"
        said = await self.farm.headrace("reproduce", "1", "--into", str(place))
        self.assertEqual(said.status, 1, said.all)
        self.assertIn("made\nof the tree\n", said.out)
        self.assertIn("ended as failure: check:0 failed (exit status 1)", said.err)
        self.assertEqual(
            (place / "outputs/make/0/made.txt").read_text(), "made\n", said.all
        )
        self.assertEqual([p.name for p in place.glob("1-*")], [])
        again = await self.farm.headrace("reproduce", "1", "--into", str(place))
        self.assertIn("is there already", again.all)
        # What the failed job needs comes from the farm, as it was made there.
        other = folder_for(self) / "only"
        said = await self.farm.headrace("reproduce", "1", "check:0", "--into", str(other))
        self.assertIn("made\nof the tree\n", said.out)
        self.assertNotIn("make:0", said.out)
        said = await headrace(
            *("reproduce", "1", "--into", str(folder_for(self) / "none")),
            env={**self.farm.environment, "HEADRACE_TOKEN_FILE": "/dev/null"},
        )
        # A work tree that somebody sent is not for everybody.
        self.assertIn("401", said.all)

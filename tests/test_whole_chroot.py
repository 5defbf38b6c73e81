"""The whole path in chroots: series mapped to images, packages, files between stages."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.farm import Farm, farm, folder_for, processes_of, work_tree
from tests.worker.environments.shared_image import (
    own_series,
    require_chroots,
    shared_image,
    shared_images_folder,
)

CONFIGURATION = """\
pipeline: [build, test]
jobs:
  build:
    series: jammy
    architectures: [amd64, arm64]
    packages: [hello]
    run-before: hello --greeting='made in a chroot' > greeting.txt
    run: cp greeting.txt ../greeting-0.txt
    output: {paths: [greeting.txt, ../greeting-0.txt], properties: {kind: greeting}}
  test:
    series: focal
    architectures: [amd64, arm64]
    input: {job-name: build, target-directory: made}
    run: |
      cat made/files/greeting.txt made/files/greeting-0.txt made/properties
      test -d /build/lpci/project -a "$(readlink -f /build/lpcraft/project)" = "$(pwd -P)"
"""


class ChrootTests(TestCase):
    timeout = 300

    async def _farm(self, images: str) -> Farm:
        """A farm whose worker has these ``series_images``."""
        require_chroots(self)
        shared_image(self)
        folder = folder_for(self) / "farm"
        started = await farm(self, folder=folder)
        await started.stop()
        settings = folder / "workers" / "worker-1" / "worker.yaml"
        lines = [
            line
            for line in settings.read_text().splitlines()
            if not line.startswith(("series_images:", "images:"))
        ]
        lines += [f"images: {shared_images_folder()}", f"series_images: {images}"]
        settings.write_text("\n".join(lines) + "\n")
        return await farm(self, folder=folder)

    async def test_two_series_a_package_and_files_between_stages(self) -> None:
        image = own_series()
        started = await self._farm(f"{{jammy: {image}, focal: {image}}}")
        tree = work_tree(self, CONFIGURATION)
        said = await started.headrace("run", str(tree), "--isolation", "chroot")
        self.assertEqual(said.status, 0, said.all)
        # By apt, or out of a layer that an earlier run made.
        self.assertRegex(said.all, r"-- packages: hello \(layer|apt-get")
        self.assertEqual(said.all.count("made in a chroot\n"), 2, said.all)
        self.assertIn('"kind"', said.all)
        self.assertEqual(await started.stop(), 0)
        self.assertEqual(processes_of(started.folder), [])
        self.assertNotIn(str(started.folder), Path("/proc/self/mounts").read_text())
        builds = started.folder / "workers" / "worker-1" / "builds"
        self.assertEqual([each.name for each in builds.iterdir()], [])

    async def test_a_job_of_a_series_without_an_image_names_it_and_the_rest_runs(
        self,
    ) -> None:
        started = await self._farm(f"{{jammy: {own_series()}}}")
        tree = work_tree(self, CONFIGURATION.replace("focal", "noble"))
        said = await started.headrace("run", str(tree), "--isolation", "chroot")
        self.assertEqual(said.status, 1, said.all)
        self.assertIn("no worker has an image of noble", said.all)
        self.assertIn("made in a chroot", said.all)
        [job] = (await started.headrace("show", "1", "--json")).document
        self.assertEqual((job["result"], job["attempt"]), ("error", 1))
        results = {one["name"]: one["result"] for one in job["pipeline_jobs"]}
        self.assertEqual(results, {"build": "success", "test": "error"})
        self.assertIn("no image for noble", job["reason"])

    async def test_a_pipeline_of_which_nobody_has_an_image_is_refused_at_once(self) -> None:
        started = await self._farm(f"{{jammy: {own_series()}}}")
        text = CONFIGURATION.replace("focal", "noble").replace("jammy", "noble")
        tree = work_tree(self, text)
        said = await started.headrace("run", str(tree), "--isolation", "chroot")
        self.assertEqual(said.status, 1, said.all)
        self.assertIn("no image of noble", said.all)

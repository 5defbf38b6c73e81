"""The whole path over two series: packages made on one and tested on the other."""

from __future__ import annotations

from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.farm import farm, folder_for, processes_of, work_tree
from tests.worker.environments.shared_image import shared_images_folder, shared_series
from tests.worker.environments.test_vm import require_machines

CONFIGURATION = """\
pipeline:
  - [build-bookworm, build-trixie]
  - [test-bookworm, test-trixie]
  - [release-bookworm, release-trixie]
jobs:
  build-bookworm: &build
    series: bookworm
    architectures: [amd64]
    packages: [hello]
    run: |
      . /etc/os-release
      mkdir -p pkg/DEBIAN pkg/usr/bin
      printf '#!/bin/sh\\nhello --greeting="made on %s"\\n' "$VERSION_CODENAME" \\
        > pkg/usr/bin/greet
      chmod 755 pkg/usr/bin/greet
      cat > pkg/DEBIAN/control <<'END'
      Package: greet
      Version: 1
      Architecture: all
      Depends: hello
      Maintainer: Ann <ann@example.org>
      Description: greets
      END
      dpkg-deb --root-owner-group --build pkg greet_1_all.deb
    output: {paths: ["*.deb"], properties: {made-on: bookworm}}
  build-trixie:
    <<: *build
    series: trixie
  test-bookworm: &test
    series: bookworm
    architectures: [amd64]
    packages: [hello]
    input: {job-name: build-trixie, target-directory: made}
    run: |
      dpkg --install made/files/greet_1_all.deb
      . /etc/os-release
      greet > tested
      echo "$(cat tested) and tested on $VERSION_CODENAME, kernel $(uname -r)"
    output: {paths: [tested]}
  test-trixie:
    <<: *test
    series: trixie
    input: {job-name: build-bookworm, target-directory: made}
  release-bookworm:
    series: bookworm
    architectures: [amd64]
    input: {job-name: test-trixie, target-directory: in}
    # Files of the series' system stay from one job to the next.
    run: grep bookworm in/files/tested && test -x /usr/bin/greet
  release-trixie:
    series: trixie
    architectures: [amd64]
    input: {job-name: test-bookworm, target-directory: in}
    run: grep trixie in/files/tested && ! test -x /usr/bin/greet
"""


class SeriesTests(TestCase):
    timeout = 600

    async def test_a_deb_made_on_one_series_is_tested_on_the_other(self) -> None:
        """Three stages in chroots of two series; one job has a virtual machine."""
        require_machines(self)
        for series in ("bookworm", "trixie"):
            shared_series(self, series)
        folder = folder_for(self) / "farm"
        started = await farm(self, folder=folder)
        await started.stop()
        settings = folder / "workers" / "worker-1" / "worker.yaml"
        kept = [
            line
            for line in settings.read_text().splitlines()
            if not line.startswith("images:")
        ]
        more = [f"images: {shared_images_folder()}", "vm_jobs: [test-trixie]"]
        settings.write_text("\n".join([*kept, *more]) + "\n")
        started = await farm(self, folder=folder)
        tree = work_tree(self, CONFIGURATION)
        said = await started.headrace("run", str(tree), "--isolation", "chroot")
        self.assertEqual(said.status, 0, said.all)
        own = Path("/proc/sys/kernel/osrelease").read_text().strip()
        self.assertIn(f"made on trixie and tested on bookworm, kernel {own}\n", said.all)
        self.assertIn("made on bookworm and tested on trixie, kernel ", said.all)
        self.assertNotIn(f"tested on trixie, kernel {own}", said.all)
        self.assertIn("== test-trixie:0: trixie, amd64, vm, stage 2", said.all)
        self.assertEqual(await started.stop(), 0)
        self.assertEqual(processes_of(started.folder), [])

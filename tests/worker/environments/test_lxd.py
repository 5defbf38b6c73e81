"""Containers of LXD or Incus, where one of them is there and answers."""

from __future__ import annotations

import json
from pathlib import Path

from twisted.trial.unittest import SkipTest, SynchronousTestCase

from tests.worker.environments.conformance import EnvironmentConformance
from tests.worker.environments.shared_image import (
    own_series,
    shared_image,
    shared_images_folder,
)
from tests.worker.supervisor.attempts import job, order, passed, repository, run
from worker.environments import lxd, traces
from worker.environments.interface import UNPRIVILEGED
from worker.environments.limits import Limits


def client() -> str:
    """The program of LXD or Incus; SkipTest where there is none, which is usual."""
    found = lxd.program()
    if found is None:
        raise SkipTest("neither incus nor lxc answers on this machine")
    return found


class LxdBuildTests(SynchronousTestCase):
    def test_a_build_of_chroots_runs_in_containers_and_leaves_none(self) -> None:
        client()
        shared_image(self)
        told = run(
            self,
            order(
                repository(self, {"file": "content"}),
                [
                    [("one", job("cat file; touch /opt/kept; cat /proc/self/uid_map"))],
                    [("two", job("id -un; test -e /opt/kept", root=False))],
                ],
                isolation="chroot",
            ),
            images=str(shared_images_folder()),
            series_images={"jammy": own_series()},
            containers="lxd",
            network=False,
        )
        passed(self, told)
        self.assertIn("_lpci", told.log("two"))


class LxdTests(EnvironmentConformance, SynchronousTestCase):
    def make(self, folder: Path) -> lxd.Container:
        return lxd.Container(
            shared_image(self).path,
            folder,
            say=self.said.append,
            client=client(),
            network=False,
            held=(),
            limits=Limits(memory=256 << 20, processes=200),
        )

    def containers(self) -> list[str]:
        told = json.loads(lxd._call(client(), "query", "/1.0/instances"))
        return [Path(each).name for each in told]

    def test_root_in_there_is_nobody_on_the_machine(self) -> None:
        self.environment.begin()
        text = self.output("id -u; cut -c1-22 /proc/self/uid_map; hostname; ls /dev/sda")
        self.assertTrue(text.startswith("0\n"), text)
        self.assertNotEqual(text.split()[2], "0", text)

    def test_only_the_loopback_is_there(self) -> None:
        self.environment.begin()
        text = self.output("tail -n +3 /proc/net/dev; grep -c . /proc/net/route")
        # Without any network the kernel shows no table of routes, not even its head.
        self.assertRegex(text, r"\A *lo: [^\n]+\n[01]\n\Z")

    def test_an_ordinary_user_is_there(self) -> None:
        self.environment.begin()
        text = self.output("id -un; grep CapEff /proc/self/status", user=UNPRIVILEGED)
        self.assertEqual(text, f"{UNPRIVILEGED}\nCapEff:\t0000000000000000\n")

    def test_bounds_hold_for_all_of_it_together(self) -> None:
        self.environment.begin()
        self.output("perl -e '$x = chr(120) x 5e8; print length $x'")
        self.assertIn("memory_limit", self.environment.exhausted())

    def test_the_container_goes_with_it_and_with_a_sweep(self) -> None:
        [name] = [
            n for n in self.containers() if n == getattr(self.environment, "_name", "")
        ]
        traces.sweep(self.folder)
        self.assertNotIn(name, self.containers())
        self.assertFalse(self.folder.exists())

from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.requirements import require
from worker.environments import groups
from worker.environments.groups import Groups, Hierarchy, Refused, hierarchies
from worker.environments.limits import Limits

_GIB = 1 << 30


class HierarchiesTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()

    def found(self, mounts: str, own: str) -> list[Hierarchy]:
        (self.folder / "mounts").write_text(mounts.replace("TOP", str(self.folder)))
        (self.folder / "own").write_text(own)
        return hierarchies(self.folder / "mounts", self.folder / "own")

    def test_version_one_has_a_tree_for_each_controller(self) -> None:
        (self.folder / "memory" / "a" / "b").mkdir(parents=True)
        (self.folder / "pids").mkdir()
        found = self.found(
            "1 2 0:1 / TOP/memory rw - cgroup cgroup rw,memory\n"
            "1 2 0:1 / TOP/pids rw - cgroup cgroup rw,pids\n"
            "1 2 0:1 / TOP/freezer rw - cgroup cgroup rw,freezer\n"
            "1 2 0:1 / / rw - ext4 /dev/vda rw\n",
            "9:name=systemd:/\n8:pids:/\n4:memory:/a/b\n0::/\n",
        )
        self.assertEqual(
            [(each.own, each.version, set(each.controllers)) for each in found],
            [
                (self.folder / "memory/a/b", 1, {"memory"}),
                (self.folder / "pids", 1, {"pids"}),
            ],
        )

    def test_version_two_has_one_tree(self) -> None:
        (self.folder / "system.slice" / "w.service").mkdir(parents=True)
        (self.folder / "cgroup.controllers").write_text("cpu io memory pids\n")
        [found] = self.found(
            "1 2 0:1 / TOP rw - cgroup2 cgroup2 rw\n", "0::/system.slice/w.service\n"
        )
        self.assertEqual(found.own, self.folder / "system.slice/w.service")
        self.assertEqual(found.version, 2)
        self.assertLessEqual({"memory", "pids", "cpu"}, found.controllers)

    def test_a_group_that_is_out_of_sight_is_taken_for_the_top(self) -> None:
        (self.folder / "cgroup.controllers").write_text("memory\n")
        [found] = self.found("1 2 0:1 /x TOP rw - cgroup2 cgroup2 rw\n", "0::/../other\n")
        self.assertEqual(found.own, self.folder)


class VersionTwoTests(SynchronousTestCase):
    """What is written, into plain files in the place of the kernel's."""

    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.top = self.folder / "cgroup"
        self.own = self.top / "slice" / "service"
        self.own.mkdir(parents=True)
        self.place = self.folder / "environment"
        self.place.mkdir()
        self.tree = Hierarchy(self.own, self.top, frozenset({"memory", "pids", "cpu"}), 2)

    def test_limits_are_written_as_version_two_has_them(self) -> None:
        made: list[Path] = []
        real = Path.mkdir

        def mkdir(path: Path, *arguments: object, **more: object) -> None:
            if path.exists():
                return
            real(path)
            made.append(path)
            (path / "cgroup.procs").touch()

        self.patch(Path, "mkdir", mkdir)
        limits = Limits(memory=_GIB, processes=70, processors=1.5)
        held = Groups(self.place, limits, [self.tree])
        [path] = made
        self.assertEqual(path.parent, self.own)
        self.assertEqual((path / "memory.max").read_text(), str(_GIB))
        self.assertEqual((path / "memory.swap.max").read_text(), "0")
        self.assertEqual((path / "pids.max").read_text(), "70")
        self.assertEqual((path / "cpu.max").read_text(), "150000 100000")
        held.begin()
        self.assertEqual(held.exhausted(), "")
        (path / "memory.events").write_text("low 0\nmax 9\noom 1\noom_kill 1\n")
        self.assertIn("memory_limit", held.exhausted())
        held.begin()
        (path / "pids.events").write_text("max 3\n")
        self.assertIn("70 processes", held.exhausted())
        for each in path.iterdir():
            each.unlink()
        held.close()
        self.assertFalse(path.exists())

    def test_a_machine_without_the_controller_refuses(self) -> None:
        with self.assertRaisesRegex(Refused, "no controller for memory"):
            Groups(self.place, Limits(memory=_GIB), [])


class RealGroupsTests(SynchronousTestCase):
    def setUp(self) -> None:
        require(self, os.geteuid() == 0, "control groups need root")
        self.place = Path(self.mktemp()).absolute()
        self.place.mkdir()
        self.limits = Limits(memory=_GIB, processes=100, processors=1)
        try:
            self.groups = Groups(self.place, self.limits)
        except Refused as error:
            require(self, False, str(error))
        self.addCleanup(self.groups.close)
        self.paths = [Path(p) for p in (self.place / "groups").read_text().splitlines()]

    def test_they_are_gone_when_they_are_closed(self) -> None:
        self.assertTrue(all(path.is_dir() for path in self.paths))
        self.groups.close()
        self.groups.close()
        self.assertEqual([path for path in self.paths if path.exists()], [])

    def test_a_sweep_removes_those_of_a_dead_owner_with_what_runs_there(self) -> None:
        child = os.fork()
        if child == 0:
            self.groups.enter()
            os.execvp("sleep", ["sleep", "600"])
        while str(child) not in (self.paths[0] / "cgroup.procs").read_text().split():
            os.sched_yield()
        groups.sweep(self.place)
        _, status = os.waitpid(child, 0)
        self.assertEqual(os.waitstatus_to_exitcode(status), -9)
        self.assertEqual([path for path in self.paths if path.exists()], [])

    def test_a_sweep_removes_nothing_but_groups_of_ours(self) -> None:
        other = self.place / "headrace-other"
        other.mkdir()
        (self.place / "groups").write_text(f"{other}\n/sys/fs/cgroup\n\0\n")
        groups.sweep(self.place)
        self.assertTrue(other.exists())

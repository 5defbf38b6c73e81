from __future__ import annotations

import os
import re
import socket
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from tests.requirements import require
from tests.worker.environments.attacks import LIMITS, Attacks
from tests.worker.environments.conformance import (
    EnvironmentCase,
    EnvironmentConformance,
    mounts_below,
)
from tests.worker.environments.shared_image import shared_image
from worker.environments import bounds, groups, own_root
from worker.environments.chroot import Chroot
from worker.environments.interface import UNPRIVILEGED, BadPath, EnvironmentFault, Unfit


class ChrootTests(EnvironmentConformance, SynchronousTestCase):
    def make(self, folder: Path) -> Chroot:
        return Chroot(shared_image(self).path, folder, say=self.said.append)

    def test_the_project_is_where_lpci_has_it(self) -> None:
        self.environment.begin()
        self.assertEqual(self.environment.project, "/build/lpci/project")
        text = self.output("touch f; ls /build/lpcraft/project")
        self.assertEqual(text, "f\n")

    def test_the_root_shows_the_files_to_the_worker(self) -> None:
        assert self.environment.root is not None
        self.environment.begin()
        self.output("echo inside > /marker")
        self.assertEqual((self.environment.root / "marker").read_text(), "inside\n")

    def test_the_machine_sees_none_of_its_mounts(self) -> None:
        self.environment.begin()
        self.assertEqual(mounts_below(self.folder), [])
        self.assertEqual(list((self.folder / "root").iterdir()), [])

    def test_the_image_stays_as_it_is(self) -> None:
        image = shared_image(self).path
        before = (image / "etc/passwd").read_bytes(), sorted(os.listdir(image / "etc"))
        self.environment.begin()
        self.output("echo x >> /etc/passwd; rm -r /etc/apt; touch /etc/new")
        after = (image / "etc/passwd").read_bytes(), sorted(os.listdir(image / "etc"))
        self.assertEqual(before, after)

    def test_the_machine_s_files_are_out_of_sight(self) -> None:
        self.environment.begin()
        text = self.output(f"ls '{self.base}' /proc/1/root/ 2>&1; ls -A /mnt /media")
        self.assertIn("No such file or directory", text)
        self.assertIn("Permission denied", text)

    def test_the_old_trick_does_not_leave_the_chroot(self) -> None:
        """Root may chroot deeper with a folder open outside, and climb from there."""
        self.environment.begin()
        text = self.output(
            'mkdir d; perl -e \'chroot "d"; chdir ".." for 1..50; chroot ".";'
            " print -e q(/build/lpci/project) ? q(in) : q(out)'"
        )
        self.assertEqual(text, "in")

    def test_the_usual_devices_work_and_no_others(self) -> None:
        self.environment.begin()
        text = self.output(
            "echo x > /dev/null; head -c4 /dev/zero | wc -c; head -c4 /dev/urandom | wc -c;"
            "echo x > /dev/full; echo y > /dev/stdout; ls /dev/shm /dev/pts;"
            "mknod m b 254 0; cat m; mknod /dev/shm/m b 254 0; cat /dev/shm/m;"
            "mknod /dev/m b 254 0; cat /dev/m"
        )
        self.assertEqual(text.count("4\n"), 2)
        self.assertIn("No space left", text)
        self.assertIn("y\n", text)
        # Where even making one is not allowed, nothing is there to be read.
        denied = len(re.findall("Permission denied|Operation not permitted", text))
        self.assertEqual(denied, 3, text)

    def test_devices_are_not_pulled(self) -> None:
        require(self, not own_root.is_within(), "who is root here only makes no devices")
        self.environment.begin()
        self.output("mknod null c 1 3")
        with self.assertRaisesRegex(BadPath, "devices"):
            self.environment.pull(self.at("null"), self.local / "got")

    def test_root_in_there_can_not_stop_or_change_the_machine(self) -> None:
        self.environment.begin()
        text = self.output(
            "cat /proc/sys/kernel/hostname; echo x > /proc/sys/kernel/hostname;"
            "test -w /proc/sysrq-trigger && echo it could;"
            "echo 1 > /sys/kernel/mm/ksm/run; hostname other; unshare --mount true;"
            "cat /proc/1/environ; head -c1 /proc/1/mem; readlink /proc/1/exe; echo end"
        )
        self.assertTrue(text.startswith("headrace\n"), text)
        self.assertNotIn("it could", text)
        self.assertIn("/proc/sys/kernel/hostname: Read-only", text)
        self.assertIn("unshare failed: Operation not permitted", text)
        self.assertEqual(text.count("Permission denied"), 2, text)
        self.assertTrue(text.endswith("end\n"))
        self.assertNotEqual(socket.gethostname(), "other")

    def test_init_can_not_be_killed_or_stopped_from_within(self) -> None:
        self.environment.begin()
        self.output("kill -9 1; kill -STOP 1; kill -TERM 1")
        self.assertEqual(self.output("echo still"), "still\n")

    def test_services_are_not_started_and_names_resolve(self) -> None:
        self.environment.begin()
        text = self.output("policy-rc.d; echo $?; getent hosts localhost; hostname")
        self.assertTrue(text.startswith("101\n"), text)
        self.assertIn("localhost", text)
        self.assertTrue(text.endswith("headrace\n"))

    def test_an_ordinary_user_has_a_home_and_its_project_and_no_more(self) -> None:
        (self.local / "tree").mkdir()
        (self.local / "tree" / "f").write_text("x")
        self.environment.begin()
        self.environment.push(
            self.local / "tree", self.environment.project, owner=UNPRIVILEGED
        )
        text = self.output(
            "id -un; touch ~/a b && rm f && echo mine; echo $HOME; touch /c;"
            "grep CapEff /proc/self/status; ulimit -c",
            user=UNPRIVILEGED,
        )
        self.assertTrue(text.startswith(f"{UNPRIVILEGED}\nmine\n/home/"), text)
        self.assertIn("Permission denied", text)
        self.assertIn("CapEff:\t0000000000000000", text)

    def test_a_user_file_of_the_job_s_making_does_no_harm(self) -> None:
        self.environment.begin()
        self.output(
            "printf 'evil:x:4294967295:-1::/:/bin/sh\\n:::\\nevil:x:\\n\\377:x:1:1\\n'"
            " > /etc/passwd; rm /etc/group; mkfifo /etc/group"
        )
        for user in ("evil", UNPRIVILEGED):
            with self.assertRaisesRegex(Unfit, "no user"):
                self.command("true", user=user)

    def test_a_package_installed_for_one_job_is_there_for_the_next(self) -> None:
        self.environment.begin()
        self.assertIn("not found", self.output("hello"))
        for argv in self.environment.install(["hello"], ["# a line of the job's own"]):
            done = self.environment.command(
                argv,
                environment=self.environment.variables,
                directory=self.environment.project,
            )
            assert done.stdout is not None
            log = done.stdout.read().decode()
            done.stdout.close()
            self.assertEqual(done.wait(), 0, log)
        self.assertEqual(self.output("hello"), "Hello, world!\n")
        self.environment.end()
        self.environment.begin()
        self.assertEqual(self.output("hello"), "Hello, world!\n")

    def test_the_lines_of_a_job_are_its_own(self) -> None:
        self.environment.begin()
        self.environment.install(["a"], ["deb http://one.invalid x main"])
        self.environment.install(["--option"], ["deb http://two.invalid x main"])
        text = self.output("cat /etc/apt/sources.list.d/*")
        self.assertNotIn("one.invalid", text)
        self.assertIn("two.invalid", text)

    def test_an_option_is_no_package(self) -> None:
        *_, install = self.environment.install(["--download-only"])
        self.assertLess(install.index("--"), install.index("--download-only"))


class AttackTests(Attacks, SynchronousTestCase):
    def make(self, folder: Path) -> Chroot:
        image = shared_image(self).path
        say = self.said.append
        return Chroot(image, folder, say=say, network=False, limits=LIMITS)

    def needs_bounds(self) -> None:
        why = "an ordinary user has neither control groups nor loop devices"
        require(self, not own_root.is_within(), why)

    def test_devices_of_the_machine_are_out_of_reach(self) -> None:
        found = os.stat("/").st_dev
        text = self.output(
            f"mknod d b {os.major(found)} {os.minor(found)}; head -c 1 d | wc -c;"
            "mknod m c 1 1; head -c 1 m | wc -c; rm -f d m"
        )
        self.assertNotIn("1\n", text.replace("rm", ""))
        self.all_is_well()

    def test_capabilities_can_not_be_raised(self) -> None:
        text = self.output(
            "grep -E 'Cap(Eff|Bnd)' /proc/self/status;"
            "perl -e 'syscall(165, 0, 0, 0, 0, 0) == 0 and print qq(mounted\\n)';"
            "setpriv --inh-caps +sys_admin --bounding-set +sys_admin true 2>&1;"
            "unshare --user --map-root-user mount -t tmpfs x /mnt 2>&1 && echo mounted"
        )
        self.assertNotIn("mounted", text)
        for line in text.splitlines():
            if line.startswith("Cap"):
                self.assertFalse(int(line.split()[1], 16) >> 21 & 1, line)  # SYS_ADMIN
        self.all_is_well()

    def test_without_groups_each_process_is_held_to_the_memory(self) -> None:
        def refuse(*arguments: object) -> None:
            raise groups.Refused("there are none")

        self.patch(bounds, "Groups", refuse)
        environment = self.make(self.base / "builds" / "8")
        self.addCleanup(environment.destroy)
        self.environment = environment
        environment.prepare()
        environment.begin()
        self.assertIn("by itself", " ".join(self.said))
        text = self.output("x=$(head -c 400m /dev/zero | tr '\\0' x); echo ${#x}")
        self.assertIn("cannot allocate", text)
        self.assertNotIn(f"{400 << 20}", text)


class NoNetworkTests(EnvironmentCase, SynchronousTestCase):
    def make(self, folder: Path) -> Chroot:
        image = shared_image(self)
        return Chroot(image.path, folder, say=self.said.append, network=False)

    def test_only_the_loopback_is_there(self) -> None:
        self.environment.begin()
        text = self.output("tail -n +3 /proc/net/dev; grep -c . /proc/net/route")
        self.assertRegex(text, r"\A *lo: [^\n]+\n1\n\Z")

    def test_the_loopback_works_and_the_machine_s_is_another(self) -> None:
        listener = socket.create_server(("127.0.0.1", 0))
        self.addCleanup(listener.close)
        port = listener.getsockname()[1]
        self.environment.begin()
        text = self.output(f"echo > /dev/tcp/127.0.0.1/{port}")
        self.assertIn("Connection refused", text)  # not: network is unreachable

    def test_packages_are_refused_by_name_of_the_key(self) -> None:
        self.assertFalse(self.environment.can_install)
        with self.assertRaisesRegex(Unfit, "^packages: .*no network"):
            self.environment.install(["hello"])


class RefusalTests(SynchronousTestCase):
    def test_an_ordinary_user_is_told_that_chroots_need_root(self) -> None:
        self.patch(os, "geteuid", lambda: 1000)
        self.patch(own_root, "why_not", lambda: "nothing is switched on")
        environment = Chroot(Path("/"), Path(self.mktemp()), say=lambda line: None)
        said = "need root, .* and nothing is switched on"
        self.assertRaisesRegex(EnvironmentFault, said, environment.prepare)

    def test_an_image_that_is_not_there_is_the_farm_s_fault(self) -> None:
        require(self, os.geteuid() == 0, "chroots need root")
        folder = Path(self.mktemp()).absolute()
        environment = Chroot(folder / "no-image", folder / "e", say=lambda line: None)
        self.addCleanup(environment.destroy)
        self.assertRaises(EnvironmentFault, environment.prepare)
        environment.destroy()
        self.assertFalse((folder / "e").exists())

    def test_nothing_works_before_its_time(self) -> None:
        environment = Chroot(Path("/"), Path(self.mktemp()), say=lambda line: None)
        self.assertRaises(EnvironmentFault, environment.begin)
        self.assertRaises(EnvironmentFault, environment.files, "/")
        with self.assertRaises(EnvironmentFault):
            environment.command(["true"], environment={}, directory="/")

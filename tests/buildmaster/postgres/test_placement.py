from __future__ import annotations

import os
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.postgres.account import Account, account_to_run_as
from buildmaster.postgres.placement import (
    LONGEST_SOCKET,
    SOCKET_NAME,
    Home,
    Unplaceable,
    UnsafeFolder,
    make_home,
    make_socket_folder,
    note_of,
    recorded_home,
    remove_socket_folder,
    require_reachable,
)
from tests.buildmaster.postgres.folders import short_folder
from tests.requirements import require


class HomeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.account = account_to_run_as()
        self.data = short_folder(self)
        self.clusters = short_folder(self) / "lib" / "clusters"

    def test_it_lies_in_the_data_folder(self) -> None:
        home = make_home(self.data, self.account, self.clusters)
        self.assertEqual(home.folder, self.data / "postgres")
        self.assertEqual(recorded_home(self.data), home)
        self.assertFalse(self.clusters.exists())

    def test_a_new_data_folder_has_none(self) -> None:
        self.assertIsNone(recorded_home(self.data))

    def test_a_data_folder_that_is_missing_is_made(self) -> None:
        home = make_home(self.data / "a" / "b", self.account, self.clusters)
        self.assertTrue(home.folder.is_dir())

    def close_to_others(self) -> None:
        require(self, os.geteuid() == 0, "needs root: others run PostgreSQL themselves")
        self.data.chmod(0o700)

    def test_it_lies_elsewhere_if_its_account_can_not_pass(self) -> None:
        self.close_to_others()
        home = make_home(self.data, self.account, self.clusters)
        self.assertEqual(home.folder.parent, self.clusters)
        self.assertEqual(note_of(self.data).read_text(), f"{home.folder}\n")
        self.assertEqual(recorded_home(self.data), home)
        require_reachable(home, self.account)

    def test_its_account_can_pass_there_whatever_the_umask(self) -> None:
        self.close_to_others()
        before = os.umask(0o077)
        try:
            home = make_home(self.data, self.account, self.clusters)
        finally:
            os.umask(before)
        require_reachable(home, self.account)

    def test_it_stays_elsewhere_when_the_data_folder_moves(self) -> None:
        self.close_to_others()
        home = make_home(self.data, self.account, self.clusters)
        moved = short_folder(self) / "moved"
        self.data.rename(moved)
        found = recorded_home(moved)
        assert found is not None
        self.assertEqual(found.folder, home.folder)

    def test_a_new_farm_does_not_get_the_cluster_of_an_older_one_there(self) -> None:
        self.close_to_others()
        older = make_home(self.data, self.account, self.clusters)
        note_of(self.data).unlink()
        newer = make_home(self.data, self.account, self.clusters)
        self.assertNotEqual(older.folder, newer.folder)

    def test_a_lost_cluster_is_not_replaced_by_an_empty_one(self) -> None:
        note_of(self.data).write_text(f"{self.data}/gone\n")
        error = self.assertRaises(Unplaceable, recorded_home, self.data)
        self.assertIn("backup", str(error))

    def test_a_relative_path_in_the_note_is_refused(self) -> None:
        note_of(self.data).write_text(".\n")
        self.assertRaises(Unplaceable, recorded_home, self.data)

    def test_a_line_break_in_the_path_is_refused(self) -> None:
        self.assertRaises(Unplaceable, recorded_home, Path("/tmp/a\nb"))

    def test_a_home_that_others_can_write_to_is_refused(self) -> None:
        home = make_home(self.data, self.account, self.clusters)
        home.folder.chmod(0o777)
        error = self.assertRaises(UnsafeFolder, require_reachable, home, self.account)
        self.assertIn("chmod", str(error))

    def test_a_link_in_place_of_the_home_is_refused(self) -> None:
        target = short_folder(self)
        (self.data / "postgres").symlink_to(target)
        with self.assertRaises(UnsafeFolder):
            make_home(self.data, self.account, self.clusters)
        home = Home(self.data / "postgres", self.data)
        self.assertRaises(UnsafeFolder, require_reachable, home, self.account)

    def test_a_home_that_became_unreachable_is_told(self) -> None:
        require(self, os.geteuid() == 0, "needs root: others run PostgreSQL themselves")
        home = make_home(self.data, self.account, self.clusters)
        self.data.chmod(0o700)
        error = self.assertRaises(Unplaceable, require_reachable, home, self.account)
        self.assertIn("chmod o+x", str(error))

    def test_a_place_elsewhere_that_is_open_to_others_is_refused(self) -> None:
        self.close_to_others()
        self.clusters.mkdir(parents=True)
        self.clusters.chmod(0o777)
        with self.assertRaises(UnsafeFolder):
            make_home(self.data, self.account, self.clusters)


class SocketFolderTests(SynchronousTestCase):
    """As an ordinary user; root's place, /run, has no other accounts in it."""

    def setUp(self) -> None:
        own = account_to_run_as()
        self.account = Account(own.name, os.geteuid(), os.getegid(), is_other=False)
        self.shared = short_folder(self, mode=0o1777)
        self.home = Home(Path("/farm") / ("long" * 40), Path("/farm"))
        self.base = self.shared / f"headrace-{os.geteuid()}"

    def make(self, environ: dict[str, str] | None = None) -> Path:
        return make_socket_folder(self.home, self.account, environ or {}, self.shared)

    def test_it_is_short_and_private_however_long_the_path_of_the_cluster(self) -> None:
        folder = self.make()
        self.assertEqual(folder.stat().st_mode & 0o7777, 0o700)
        self.assertEqual(folder.parent, self.base)
        self.assertTrue(len(str(folder / SOCKET_NAME)) <= LONGEST_SOCKET)

    def test_it_is_the_same_at_every_start(self) -> None:
        self.assertEqual(self.make(), self.make())

    def test_each_cluster_has_its_own(self) -> None:
        first = self.make()
        self.home = Home(Path("/other"), Path("/other"))
        self.assertNotEqual(first, self.make())

    def test_the_last_one_removed_leaves_nothing(self) -> None:
        first = self.make()
        self.home = Home(Path("/other"), Path("/other"))
        second = self.make()
        remove_socket_folder(first)
        self.assertEqual(list(self.base.iterdir()), [second])
        (second / SOCKET_NAME).touch()
        remove_socket_folder(second)
        self.assertTrue(second.exists())
        (second / SOCKET_NAME).unlink()
        remove_socket_folder(second)
        self.assertEqual(list(self.shared.iterdir()), [])

    def test_farms_that_start_and_end_at_once_do_not_disturb_each_other(self) -> None:
        def rounds(path: str) -> None:
            home = Home(Path(path), Path(path))
            for _ in range(300):
                remove_socket_folder(
                    make_socket_folder(home, self.account, {}, self.shared)
                )

        with ThreadPoolExecutor() as pool:
            for done in [pool.submit(rounds, path) for path in ("/one", "/other")]:
                done.result()

    def test_the_user_s_runtime_folder_is_preferred(self) -> None:
        runtime = short_folder(self, mode=0o700)
        folder = self.make({"XDG_RUNTIME_DIR": str(runtime)})
        self.assertEqual(folder.parent, runtime / "headrace")

    def test_a_runtime_folder_too_long_for_a_socket_is_passed_over(self) -> None:
        runtime = short_folder(self) / ("x" * 80)
        runtime.mkdir()
        folder = self.make({"XDG_RUNTIME_DIR": str(runtime)})
        self.assertEqual(folder.parent, self.base)

    def test_a_runtime_folder_that_would_split_the_setting_is_passed_over(self) -> None:
        """Both ends take a comma for the end of a folder's name."""
        runtime = short_folder(self) / "a,b"
        runtime.mkdir()
        folder = self.make({"XDG_RUNTIME_DIR": str(runtime)})
        self.assertEqual(folder.parent, self.base)

    def test_a_relative_runtime_folder_is_passed_over(self) -> None:
        self.assertEqual(self.make({"XDG_RUNTIME_DIR": "here"}).parent, self.base)

    def test_a_folder_that_somebody_opened_is_refused(self) -> None:
        self.base.mkdir()
        self.base.chmod(0o777)
        error = self.assertRaises(Unplaceable, self.make)
        self.assertIn("open to other accounts", str(error))

    def test_an_inner_folder_that_somebody_opened_is_refused(self) -> None:
        self.make().chmod(0o755)
        self.assertRaises(Unplaceable, self.make)

    def test_a_link_that_an_attacker_made_beforehand_is_refused(self) -> None:
        target = short_folder(self, mode=0o700)
        self.base.symlink_to(target)
        error = self.assertRaises(Unplaceable, self.make)
        self.assertIn("is not a folder", str(error))
        self.assertEqual(list(target.iterdir()), [])

    def test_a_folder_that_an_attacker_made_beforehand_is_refused(self) -> None:
        require(self, os.geteuid() == 0, "needs root, to act as another account")
        self.base.mkdir(mode=0o700)
        os.chown(self.base, 65534, 65534)
        error = self.assertRaises(Unplaceable, self.make)
        self.assertIn("belongs to account number 65534", str(error))
        self.assertIn("XDG_RUNTIME_DIR", str(error))

    def test_root_gives_the_inner_folder_to_postgresql_s_account(self) -> None:
        require(self, os.geteuid() == 0, "needs root, to give folders away")
        self.account = account_to_run_as()
        self.patch(os, "environ", {})
        folder = self.make()
        self.addCleanup(folder.rmdir)
        self.assertEqual(folder.stat().st_uid, self.account.uid)
        self.assertEqual(folder.parent.stat().st_uid, 0)
        self.assertTrue(self.account.can_enter(folder))

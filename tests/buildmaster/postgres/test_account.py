from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.postgres.account import NoAccount, account_to_run_as, owner_of
from tests.buildmaster.postgres.folders import short_folder
from tests.requirements import require


class AccountToRunAsTests(SynchronousTestCase):
    def test_an_ordinary_user_runs_it_as_itself(self) -> None:
        self.patch(os, "geteuid", lambda: 65534)
        account = account_to_run_as()
        self.assertEqual((account.uid, account.is_other), (65534, False))

    def test_a_user_without_a_name_is_told_so(self) -> None:
        """As in containers that are started with any number for a user."""
        self.patch(os, "geteuid", lambda: 54321)
        error = self.assertRaises(NoAccount, account_to_run_as)
        self.assertIn("54321", str(error))

    def test_root_runs_it_as_an_account_without_rights(self) -> None:
        require(self, os.geteuid() == 0, "needs root")
        account = account_to_run_as()
        self.assertTrue(account.is_other)
        told = account.run(["id", "-u"])
        self.assertEqual(told.stdout.strip(), str(account.uid))
        self.assertNotEqual(account.uid, 0)

    def test_root_gives_up_its_groups_too(self) -> None:
        require(self, os.geteuid() == 0, "needs root")
        account = account_to_run_as()
        groups = account.run(["id", "-G"]).stdout.split()
        self.assertNotIn("0", groups)


class CanEnterTests(SynchronousTestCase):
    def test_an_open_folder_can_be_entered(self) -> None:
        self.assertTrue(account_to_run_as().can_enter(short_folder(self)))

    def test_what_lies_in_a_closed_folder_can_not(self) -> None:
        closed = short_folder(self, mode=0o700)
        inner = closed / "inner"
        inner.mkdir(mode=0o755)
        account = account_to_run_as()
        if not account.is_other:
            closed.chmod(0o000)
            self.addCleanup(closed.chmod, 0o700)
        self.assertFalse(account.can_enter(inner))


class OwnerOfTests(SynchronousTestCase):
    def test_a_cluster_goes_on_under_the_account_that_made_it(self) -> None:
        require(self, os.geteuid() == 0, "needs root, to give folders away")
        folder = short_folder(self)
        os.chown(folder, 65534, 65534)
        self.assertEqual((owner_of(folder).uid, owner_of(folder).is_other), (65534, True))

    def test_a_cluster_of_root_is_refused(self) -> None:
        error = self.assertRaises(NoAccount, owner_of, Path("/usr"))
        self.assertIn("chown", str(error))

    def test_a_cluster_of_nobody_known_is_refused(self) -> None:
        require(self, os.geteuid() == 0, "needs root, to give folders away")
        folder = short_folder(self)
        os.chown(folder, 54321, 54321)
        error = self.assertRaises(NoAccount, owner_of, folder)
        self.assertIn("54321", str(error))

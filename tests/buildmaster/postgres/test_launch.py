from __future__ import annotations

import os
import sys

from twisted.trial.unittest import TestCase

from buildmaster.postgres import launch
from buildmaster.postgres.account import Account, account_to_run_as
from tests.buildmaster.postgres.processes import Printed
from tests.requirements import require

SHOW = ("/bin/sh", "-c", "id -u; id -G; umask; cut -d ' ' -f 6 /proc/$$/stat; echo $$")


def launched(parent: int, account: Account, *command: str) -> Printed:
    who = (account.uid, account.gid) if account.is_other else ("", "")
    words = map(str, (parent, account.name, *who, *command))
    return Printed(sys.executable, "-I", "-S", launch.__file__, *words)


class LaunchTests(TestCase):
    """What ends with its parent is shown where real servers do, in ``test_embedded``."""

    timeout = 30

    async def test_the_program_leads_a_session_of_its_own(self) -> None:
        """Ctrl-C in the terminal reaches the daemon only, which ends it in order."""
        shown = launched(os.getpid(), account_to_run_as(), *SHOW)
        *_, session, pid = (await shown.output).split()
        self.assertEqual(session, pid)
        self.assertEqual(int(pid), shown.pid)

    async def test_its_files_are_its_own(self) -> None:
        shown = launched(os.getpid(), account_to_run_as(), *SHOW)
        self.assertEqual((await shown.output).split("\n")[2], "0077")

    async def test_root_s_rights_are_given_up_for_good(self) -> None:
        require(self, os.geteuid() == 0, "needs root")
        account = account_to_run_as()
        shown = launched(os.getpid(), account, *SHOW)
        uid, groups, *_ = (await shown.output).split("\n")
        self.assertEqual(int(uid), account.uid)
        expected = set(os.getgrouplist(account.name, account.gid))
        self.assertEqual(set(map(int, groups.split())), expected)

    async def test_nothing_is_started_for_a_parent_that_died_meanwhile(self) -> None:
        shown = launched(1, account_to_run_as(), "/bin/echo", "started")
        said = await shown.output
        self.assertIn("is gone", said)
        self.assertNotIn("started", said)

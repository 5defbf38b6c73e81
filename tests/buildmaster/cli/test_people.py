"""``headrace people``: lines for a file of passwords, and who is logged in."""

from __future__ import annotations

import io
import sys

from twisted.trial.unittest import SynchronousTestCase, TestCase

from buildmaster.cli import people
from buildmaster.cli.problems import CommandFailed
from buildmaster.people.passwords import verify
from tests.buildmaster.cli.commands import run
from tests.buildmaster.people.people_site import cheap_line, cookie_of
from tests.farm import headrace
from tests.masters import MasterHome
from tests.postgres import fresh_dsn
from tests.test_whole_people import log_in


class HashTests(SynchronousTestCase):
    def hashed(self, name: str, said: str) -> str:
        self.patch(sys, "stdin", io.StringIO(said))
        return run(people, "people", "hash", name).output

    def test_a_line_is_printed_that_the_password_opens(self) -> None:
        name, _, line = self.hashed("ada", "lace \n").rstrip("\n").partition(":")
        self.assertEqual(name, "ada")
        self.assertTrue(verify("lace ", line))

    def test_what_cannot_be_a_line_is_refused(self) -> None:
        for name, said in (
            ("ada", "\n"),
            ("ada", "x" * 73 + "\n"),
            ("a:b", "lace\n"),
            ("a\nb", "lace\n"),
            ("", "lace\n"),
        ):
            self.assertRaises(CommandFailed, self.hashed, name, said)


class StayTests(TestCase):
    timeout = 120

    async def test_who_is_logged_in_is_listed_and_ended(self) -> None:
        settings = {"htpasswd": "htpasswd"}
        home = MasterHome(self, fresh_dsn(self), people=settings)
        (home.folder / "htpasswd").write_text(cheap_line("ada", "lace"))
        await home.start()
        token = (home.folder / "token").read_text().strip()
        env = {"HEADRACE_URL": home.url, "HEADRACE_TOKEN": token}
        said = await headrace("people", "list", env=env)
        self.assertIn("Nobody is logged in.", said.all)
        cookie = cookie_of(await log_in(home)).partition("=")[2]
        said = await headrace("people", "list", env=env)
        self.assertRegex(said.all, r"NAME +BY +FROM.*\nada +htpasswd +127\.0\.0\.1 ")
        listed = await headrace("people", "list", "--json", env=env)
        self.assertEqual([each["who"] for each in listed.document], ["ada"])
        self.assertNotIn(cookie, said.all + listed.all)
        said = await headrace("people", "end", "ada", env=env)
        self.assertEqual(said.status, 0, said.all)
        said = await headrace("people", "end", "ada", env=env)
        self.assertEqual(said.status, 1)
        self.assertIn("Nobody named ada is logged in.", said.all)
        said = await headrace("status", "audit", "--act", "stay.end", env=env)
        self.assertRegex(said.all, r"ID +AT +WHO.*\n(.*farm token.*\n){2}")
        listed = await headrace("status", "audit", "--who", "person ada", "--json", env=env)
        [act] = listed.document["audit"]
        self.assertEqual((act["act"], act["outcome"]), ("login", "done"))

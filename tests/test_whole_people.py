"""People and real masters: stays are shared, roles read again, logins hold up nobody."""

from __future__ import annotations

import os
import re
from typing import Any
from urllib.parse import urlencode

import treq
import yaml
from twisted.internet import reactor
from twisted.internet.defer import Deferred, gatherResults
from twisted.internet.task import deferLater
from twisted.trial.unittest import TestCase
from twisted.web.http_headers import Headers

from tests.buildmaster.people.people_site import cheap_line, cookie_of
from tests.masters import MasterHome
from tests.postgres import fresh_dsn

PEOPLE = {
    "htpasswd": "htpasswd",
    "roles": [{"user": "ada", "role": "submitter"}],
    "stay": 600,
}


def _headers(given: dict[str, str]) -> Headers:
    return Headers({name: [value] for name, value in given.items()})


async def log_in(home: MasterHome, password: str = "lace") -> Any:
    """The answer to ada's login at a master."""
    body = urlencode({"user": "ada", "password": password}).encode()
    return await treq.post(
        f"{home.url}/login",
        data=body,
        headers=_headers(
            {"Content-Type": "application/x-www-form-urlencoded", "Origin": home.url}
        ),
        allow_redirects=False,
        persistent=False,
    )


class PeopleTests(TestCase):
    timeout = 120

    async def setUp(self) -> None:  # type: ignore[override]
        dsn = fresh_dsn(self)
        self.homes = [
            MasterHome(
                self,
                dsn,
                name,
                people=PEOPLE,
                open_reading=False,
                plain_text_off_loopback=False,
            )
            for name in ("m1", "m2")
        ]
        for home in self.homes:
            (home.folder / "htpasswd").write_text(cheap_line("ada", "lace"))
            await home.start()

    async def me(self, home: MasterHome, cookie: str) -> Any:
        response = await treq.get(
            f"{home.url}/api/v1/me", headers=_headers({"Cookie": cookie}), persistent=False
        )
        return await response.json()

    async def until(self, home: MasterHome, cookie: str, by: str) -> None:
        """Wait for what another master was told to arrive."""
        while (await self.me(home, cookie))["by"] != by:
            await deferLater(reactor, 0.02)

    async def test_whoever_came_in_at_one_master_is_known_at_all_until_they_leave(
        self,
    ) -> None:
        one, two = self.homes
        cookie = cookie_of(await log_in(one))
        await self.until(two, cookie, "htpasswd")
        gone = await treq.post(
            f"{two.url}/logout",
            headers=_headers({"Cookie": cookie, "Origin": two.url}),
            persistent=False,
        )
        self.assertEqual(gone.code, 204)
        await self.until(one, cookie, "open")

    async def test_a_role_in_the_settings_file_counts_at_once(self) -> None:
        home = self.homes[0]
        cookie = cookie_of(await log_in(home))
        self.assertEqual((await self.me(home, cookie))["scopes"], ["read", "submit"])
        settings = yaml.safe_load(home.settings.read_text())
        settings["people"]["roles"] = [{"user": "ada", "role": "reader"}]
        self.rewrite(home, yaml.safe_dump(settings))
        self.assertEqual((await self.me(home, cookie))["scopes"], ["read"])
        self.rewrite(home, "people: {htpasswd: h, roles: [{user: ada, role: king}]}")
        self.assertEqual((await self.me(home, cookie))["scopes"], ["read"])
        del settings["people"]
        self.rewrite(home, yaml.safe_dump(settings))
        self.assertEqual((await self.me(home, cookie))["scopes"], [])
        self.assertRegex(home.log, r"the roles stay as they were: .*king")

    async def test_a_master_without_its_files_says_so_and_does_not_start(self) -> None:
        for people, words in (
            ({"htpasswd": "nowhere"}, "people.htpasswd: .*nowhere cannot be taken"),
            (
                {
                    "proxy": {
                        "header": "X",
                        "from": ["::1"],
                        "secret_header": "Y",
                        "secret_file": "empty",
                    }
                },
                "people.proxy.secret_file: .* is empty",
            ),
            (
                {
                    "oidc": {
                        "issuer": "https://id.example",
                        "client_id": "a",
                        "client_secret_file": "nowhere",
                    }
                },
                "people.oidc.client_secret_file: .*nowhere cannot be taken",
            ),
        ):
            home = MasterHome(
                self, fresh_dsn(self), f"m-{next(iter(people))}", people=people
            )
            (home.folder / "empty").write_text("\n")
            with self.assertRaisesRegex(AssertionError, words):
                await home.start()

    def rewrite(self, home: MasterHome, text: str) -> None:
        fresh = home.settings.with_suffix(".new")
        fresh.write_text(text)
        os.replace(fresh, home.settings)

    async def test_no_password_and_no_cookie_gets_into_a_log(self) -> None:
        home = self.homes[0]
        await log_in(home, "wrong-and-secret")
        cookie = cookie_of(await log_in(home))
        await self.me(home, cookie)
        for secret in ("wrong-and-secret", cookie.partition("=")[2], "lace"):
            self.assertNotIn(secret, home.log)

    async def test_while_many_log_in_others_are_answered(self) -> None:
        home = self.homes[0]
        storm = gatherResults([Deferred.fromCoroutine(log_in(home)) for _ in range(100)])
        answered = 0
        while not storm.called:
            self.assertEqual((await self.me(home, "a=b"))["by"], "open")
            answered += 1
        codes = [response.code for response in await storm]
        self.assertLessEqual(set(codes), {303, 503})
        self.assertGreater(answered, 0)
        self.assertIsNone(re.search("Traceback", home.log))

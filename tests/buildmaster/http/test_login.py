"""Coming in with a password, and going; and what those try who are not meant to."""

from __future__ import annotations

import os
from datetime import timedelta

from twisted.internet.defer import Deferred, gatherResults

from buildmaster.people.roles import Role, RoleEntry
from buildmaster.tokens import token_hash
from tests.buildmaster.people.people_site import (
    PeopleCase,
    cheap_line,
    cookie_of,
)


class LoginTests(PeopleCase):
    async def test_the_page_works_without_scripts_and_loads_nothing_from_elsewhere(
        self,
    ) -> None:
        response = await self.get("/login?next=/%23/jobs")
        text = await response.text()
        self.assertEqual(response.code, 200)
        self.assertIn('<form class="login" method="post" action="/login">', text)
        self.assertIn('value="/#/jobs"', text)
        self.assertNotIn("<script", text)
        for wanted in ('<label for="user">', '<label for="password">', 'lang="en"'):
            self.assertIn(wanted, text)
        [policy] = response.headers.getRawHeaders("Content-Security-Policy")
        self.assertIn("default-src 'none'", policy)
        self.assertNotIn("script-src", policy)
        # Else browsers would hide where the form comes from, and it would be refused.
        self.assertEqual(response.headers.getRawHeaders("Referrer-Policy"), ["same-origin"])
        for path in ("/page/style.css", "/page/login.css"):
            self.assertEqual((await self.get(path)).code, 200)

    async def test_a_right_password_lets_in_and_the_cookie_is_out_of_reach(self) -> None:
        fields = {"user": "ada", "password": "lace", "next": "/#/jobs"}
        response = await self.form("/login", fields)
        self.assertEqual(response.code, 303)
        self.assertEqual(response.headers.getRawHeaders("Location"), ["/#/jobs"])
        [line] = response.headers.getRawHeaders("Set-Cookie")
        self.assertRegex(
            line,
            r"^headrace=[A-Za-z0-9_-]{43}; Path=/; Max-Age=3600; HttpOnly; SameSite=Lax$",
        )
        told = await self.me({"Cookie": cookie_of(response)})
        self.assertEqual((told["who"], told["by"]), ("person ada", "htpasswd"))
        self.assertEqual((told["scopes"], told["grants"]), ([], []))
        self.assertRegex(told["expires_at"], r"^20[0-9-]+T[0-9:.]+Z$")

    async def test_of_the_cookie_the_database_has_the_hash_only(self) -> None:
        value = (await self.log_in())["Cookie"].partition("=")[2]
        [row] = await self.database.rows("SELECT stay::text, sha256 FROM stay")
        self.assertEqual(bytes(row[1]), token_hash(value))
        self.assertNotIn(value, row[0])

    async def test_a_wrong_password_and_an_unknown_name_are_told_the_same(self) -> None:
        answers = []
        for name in ("ada", "nobody-knows", "", "x" * 500, "a\nb", "ada\0"):
            response = await self.form("/login", {"user": name, "password": "wrong"})
            self.assertEqual(response.code, 401, name)
            self.assertIsNone(response.headers.getRawHeaders("Set-Cookie"))
            answers.append((await response.text()).replace(f'value="{name}"', 'value=""'))
        self.assertIn("do not go together", answers[0])
        self.assertEqual(
            answers[1].replace(" autofocus", ""), answers[0].replace(" autofocus", "")
        )

    async def test_nothing_in_a_name_becomes_a_part_of_the_page(self) -> None:
        name = '"><script>alert(1)</script>'
        response = await self.form("/login", {"user": name, "password": "x"})
        text = await response.text()
        self.assertNotIn("<script", text)
        self.assertIn("&lt;script&gt;", text)

    async def test_each_login_has_a_cookie_of_its_own_and_ends_the_one_before(self) -> None:
        """Fixation: whoever put a cookie there beforehand knows nothing afterwards."""
        first = await self.log_in()
        put_there = {"Cookie": "headrace=" + "A" * 43}
        fields = {"user": "ada", "password": "lace"}
        second = cookie_of(await self.form("/login", fields, **put_there))
        self.assertNotEqual(second, put_there["Cookie"])
        self.assertEqual((await self.me(put_there))["by"], "open")
        third = cookie_of(await self.form("/login", fields, **first))
        self.assertEqual((await self.me(first))["by"], "open")
        for cookie in (second, third):
            self.assertEqual((await self.me({"Cookie": cookie}))["by"], "htpasswd")

    async def test_leaving_ends_the_stay_for_whoever_kept_the_cookie(self) -> None:
        headers = await self.writing()
        self.assertEqual((await self.me(headers))["by"], "htpasswd")
        response = await self.ask("POST", "/logout", headers=headers)
        self.assertEqual(response.code, 204)
        [line] = response.headers.getRawHeaders("Set-Cookie")
        self.assertTrue(line.startswith("headrace=; Path=/; Max-Age=0;"), line)
        self.assertEqual((await self.me(headers))["by"], "open")
        self.assertEqual(await self.database.rows("SELECT FROM stay"), [])
        again = await self.ask(
            "POST", "/logout", headers={**headers, "Accept": "text/html"}
        )
        self.assertEqual(again.code, 303)

    async def test_a_stay_that_is_over_opens_nothing(self) -> None:
        headers = await self.log_in()
        await self.database.run("UPDATE stay SET created_at = created_at - interval '2 h'")
        await self.database.run("UPDATE stay SET expires_at = expires_at - interval '1 h'")
        self.assertEqual((await self.me(headers))["by"], "htpasswd")
        await self.stays.round()
        self.assertEqual((await self.me(headers))["by"], "open")
        other = await self.log_in()
        [stay] = [s for s in self.stays._known.values()]
        object.__setattr__(stay, "expires_at", stay.expires_at - timedelta(hours=2))
        self.assertEqual((await self.me(other))["by"], "open")

    async def test_two_cookies_of_the_name_are_none(self) -> None:
        """One of them is not from here: a neighbour on the host put it there."""
        cookie = (await self.log_in())["Cookie"]
        for line in (f"headrace=x; {cookie}", f"{cookie}; headrace=x"):
            self.assertEqual((await self.me({"Cookie": line}))["by"], "open")
        self.assertEqual((await self.me({"Cookie": f"a=b; {cookie}"}))["by"], "htpasswd")

    async def test_who_left_the_file_is_out_at_once(self) -> None:
        headers = await self.log_in()
        self.rewrite(cheap_line("bob", "sponge"))
        self.assertEqual((await self.me(headers))["by"], "open")
        response = await self.form("/login", {"user": "ada", "password": "lace"})
        self.assertEqual(response.code, 401)

    async def test_the_file_counts_as_it_is_now(self) -> None:
        self.rewrite(cheap_line("ada", "other"))
        await self.log_in("ada", "other")
        response = await self.form("/login", {"user": "ada", "password": "lace"})
        self.assertEqual(response.code, 401)
        self.passwords.unlink()
        response = await self.form("/login", {"user": "ada", "password": "other"})
        self.assertEqual(response.code, 401)
        self.flushLoggedErrors()

    def rewrite(self, text: str) -> None:
        fresh = self.passwords.with_suffix(".new")
        fresh.write_text(text)
        os.replace(fresh, self.passwords)

    async def test_ways_out_of_the_farm_are_no_places_to_go_on(self) -> None:
        for place in (
            "https://evil.example/",
            "//evil.example/",
            "/\\evil.example",
            "\\\\evil.example",
            "/./\\evil",
            "/.//evil.example",
            "evil",
            "javascript:alert(1)",
            "/a\r\nSet-Cookie: x=y",
            "/\t/evil.example",
            "/é",
            "/" + "a" * 3000,
        ):
            fields = {"user": "ada", "password": "lace", "next": place}
            response = await self.form("/login", fields)
            await self.assert_problem(response, 400, "bad_next")
            self.assertIsNone(response.headers.getRawHeaders("Set-Cookie"))
            page = await self.ask("GET", "/login", params={"next": place})
            await self.assert_problem(page, 400, "bad_next")


class ForeignPageTests(PeopleCase):
    """What another site can make a browser do that has a cookie of this farm."""

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.roles.append(RoleEntry(role=Role.OPERATOR, user="ada"))
        self.job = await self.rows.job()

    async def test_a_person_changes_something_from_this_farms_pages(self) -> None:
        headers = await self.writing()
        told = await self.code(
            "POST", f"/api/v1/jobs/{self.job}/cancel", json={}, headers=headers
        )
        self.assertEqual(told, (202, ""))
        self.assertEqual(self.farm.asked[0][:3], ("cancel_job", self.job, "person ada"))

    async def test_another_sites_page_changes_nothing(self) -> None:
        cookie = await self.log_in()
        for origin in (
            "http://evil.example",
            "null",
            f"http://127.0.0.1:{self.port + 1}",
            f"http://localhost:{self.port}",
        ):
            told = await self.code(
                "POST",
                f"/api/v1/jobs/{self.job}/cancel",
                json={},
                headers={**cookie, "Origin": origin},
            )
            self.assertEqual(told, (403, "foreign_origin"), origin)
        self.assertEqual(self.farm.asked, [])

    async def test_a_write_that_does_not_say_where_it_comes_from_is_refused(self) -> None:
        cookie = await self.log_in()
        path = f"/api/v1/jobs/{self.job}/cancel"
        told = await self.code("POST", path, json={}, headers=cookie)
        self.assertEqual(told, (403, "no_origin"))
        sending = await self.code(
            "PUT", f"/api/v1/artifacts/{'0' * 64}", data=b"x", headers=cookie
        )
        self.assertEqual(sending, (403, "no_origin"))
        self.assertEqual((await self.code("POST", "/logout", headers=cookie))[0], 403)
        # Who has a token sends it on purpose.
        told = await self.code("POST", path, json={}, headers={**cookie, **self.bearer})
        self.assertEqual(told, (202, ""))
        self.assertEqual(self.farm.asked[0][2], "farm token")

    async def test_a_foreign_page_cannot_open_a_socket(self) -> None:
        cookie = await self.log_in()
        for origin, word in (("http://evil.example", "foreign_origin"), ("", "no_origin")):
            more = {"Origin": origin} if origin else {}
            told = await self.code(
                "GET", "/api/v1/events", headers={**cookie, "Upgrade": "websocket", **more}
            )
            self.assertEqual(told, (403, word))

    async def test_a_foreign_page_logs_nobody_in_as_somebody_else(self) -> None:
        fields = {"user": "bob", "password": "sponge"}
        for origin in ("http://evil.example", "null", "-"):
            response = await self.form("/login", fields, Origin=origin)
            self.assertEqual(response.code, 403, origin)
            self.assertIsNone(response.headers.getRawHeaders("Set-Cookie"))

    async def test_a_form_is_no_way_to_the_interface(self) -> None:
        headers = await self.writing()
        response = await self.form(f"/api/v1/jobs/{self.job}/cancel", {"a": "b"}, **headers)
        await self.assert_problem(response, 415, "not_json")
        response = await self.ask("POST", "/login", json={}, headers={"Origin": self.url})
        await self.assert_problem(response, 415, "not_a_form")


class StormTests(PeopleCase):
    async def test_an_address_that_fails_often_has_to_wait(self) -> None:
        for _ in range(10):
            response = await self.form("/login", {"user": "eve", "password": "x"})
            self.assertEqual(response.code, 401)
        response = await self.form("/login", {"user": "ada", "password": "lace"})
        self.assertEqual(response.code, 429)
        self.assertEqual(response.headers.getRawHeaders("Retry-After"), ["60"])
        self.assertEqual(await self.database.rows("SELECT FROM stay"), [])

    async def test_more_passwords_at_a_time_than_can_be_checked_are_refused(self) -> None:
        fields = {"user": "ada", "password": "lace"}
        asking = [Deferred.fromCoroutine(self.form("/login", fields)) for _ in range(60)]
        codes = [response.code for response in await gatherResults(asking)]
        self.assertEqual(set(codes), {303, 503})
        self.assertEqual(
            codes.count(303), len(await self.database.rows("SELECT FROM stay"))
        )


class SecureTests(PeopleCase):
    is_secure = True

    async def test_under_tls_only_this_host_may_set_the_cookie(self) -> None:
        response = await self.form("/login", {"user": "ada", "password": "lace"})
        [line] = response.headers.getRawHeaders("Set-Cookie")
        self.assertTrue(line.startswith("__Host-headrace="), line)
        self.assertTrue(line.endswith("; Secure"), line)
        self.assertNotIn("Domain", line)
        value = cookie_of(response).partition("=")[2]
        self.assertEqual((await self.me({"Cookie": f"headrace={value}"}))["by"], "open")


class RoleTests(PeopleCase):
    async def test_roles_count_as_they_are_now(self) -> None:
        cookie = await self.log_in()
        self.assertEqual(
            await self.code("GET", "/api/v1/runs", headers=cookie), (403, "not_allowed")
        )
        self.roles.append(RoleEntry(role=Role.READER, user="ada"))
        self.assertEqual((await self.code("GET", "/api/v1/runs", headers=cookie))[0], 200)
        told = await self.me(cookie)
        self.assertEqual(told["scopes"], ["read"])
        self.assertEqual(
            told["grants"], [{"project": None, "role": "reader", "scopes": ["read"]}]
        )
        self.roles.clear()
        self.assertEqual(
            await self.code("GET", "/api/v1/runs", headers=cookie), (403, "not_allowed")
        )

    async def test_a_name_that_is_not_ones_own_brings_nothing(self) -> None:
        self.roles.append(RoleEntry(role=Role.ADMIN, user="ada"))
        cookie = await self.log_in("bob", "sponge")
        self.assertEqual((await self.me(cookie))["scopes"], [])

    async def test_who_is_nobody_is_told_how_to_come_in(self) -> None:
        told = await self.me()
        self.assertEqual((told["who"], told["by"], told["scopes"]), ("", "open", []))
        self.assertEqual([door["kind"] for door in told["login"]], ["htpasswd"])
        told = await self.me(self.bearer)
        self.assertEqual((told["who"], told["by"]), ("farm token", "token"))
        self.assertEqual(told["scopes"], ["read", "submit", "cancel", "operate", "admin"])

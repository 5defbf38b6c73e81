"""A proxy that says who asks: believed where it may, and nobody else."""

from __future__ import annotations

from buildmaster.people.proxy import ProxyPeople
from buildmaster.people.roles import Role, RoleEntry
from buildmaster.people.settings import Proxy
from tests.buildmaster.people.people_site import PeopleCase

_ADA = {"X-Forwarded-User": "ada", "X-Forwarded-Groups": "staff, builders,,staff"}


class TrustedTests(PeopleCase):
    proxy = ProxyPeople(
        Proxy(
            header="X-Forwarded-User",
            groups_header="X-Forwarded-Groups",
            display_header="X-Forwarded-Name",
            from_=("127.0.0.1", "192.0.2.0/24"),
        )
    )

    async def test_who_the_proxy_names_is_who_asks(self) -> None:
        self.roles.append(RoleEntry(role=Role.OPERATOR, group="staff"))
        told = await self.me({**_ADA, "X-Forwarded-Name": "Ada L."})
        self.assertEqual(
            (told["who"], told["by"], told["display"], told["groups"]),
            ("person ada", "proxy", "Ada L.", ["staff", "builders"]),
        )
        self.assertIsNone(told["expires_at"])
        self.assertEqual((await self.code("GET", "/api/v1/jobs", headers=_ADA))[0], 200)
        self.assertEqual((await self.me())["by"], "open")

    async def test_a_foreign_page_changes_nothing_through_the_proxy(self) -> None:
        """The browser has the proxy's cookie, and sends it whoever makes it ask."""
        self.roles.append(RoleEntry(role=Role.OPERATOR, user="ada"))
        path = f"/api/v1/jobs/{await self.rows.job()}/cancel"
        for more, wanted in (
            ({"Origin": "https://evil.example"}, (403, "foreign_origin")),
            ({"Origin": "null"}, (403, "foreign_origin")),
            ({}, (403, "no_origin")),
            ({"Origin": self.url}, (202, "")),
        ):
            told = await self.code("POST", path, json={}, headers={**_ADA, **more})
            self.assertEqual(told, wanted, more)

    async def test_names_and_headers_that_were_smuggled_in_are_refused(self) -> None:
        for name in ("a" * 201, "a\tb", "b\u00adc"):
            raw = self.head("GET /api/v1/me HTTP/1.1", Connection="close")
            line = f"X-Forwarded-User: {name}\r\n\r\n".encode()
            told = await (await self.raw(raw[:-2] + line)).closed
            self.assertIn(b'"code":"untrusted_proxy"', told, name)
        twice = self.head("GET /api/v1/me HTTP/1.1", Connection="close")[:-2]
        twice += b"X-Forwarded-User: root\r\nX-Forwarded-User: ada\r\n\r\n"
        told = await (await self.raw(twice)).closed
        self.assertIn(b"stands there twice", told)

    async def test_a_header_that_looks_alike_is_another(self) -> None:
        for name in ("X_Forwarded_User", "X-Forwarded-User2", "XForwardedUser"):
            self.assertEqual((await self.me({name: "ada"}))["by"], "open", name)

    async def test_the_audit_tells_where_the_proxy_was_asked_from(self) -> None:
        self.roles.append(RoleEntry(role=Role.OPERATOR, user="ada"))
        path = f"/api/v1/jobs/{await self.rows.job()}/cancel"
        for said, wanted in (
            ("203.0.113.9", "203.0.113.9"),
            ("6.6.6.6, 203.0.113.9", "203.0.113.9"),
            ("no address", "127.0.0.1"),
        ):
            headers = {**_ADA, "Origin": self.url, "X-Forwarded-For": said}
            await self.code("POST", path, json={}, headers=headers)
            [row] = await self.database.rows(
                "SELECT address FROM act ORDER BY id DESC LIMIT 1"
            )
            self.assertEqual(row[0], wanted)


class StrangerTests(PeopleCase):
    """Somebody who reaches the farm beside the proxy, and says what it would say."""

    proxy = ProxyPeople(
        Proxy(
            header="X-Forwarded-User",
            groups_header="X-Forwarded-Groups",
            from_=("192.0.2.0/24", "2001:db8::/32"),
        )
    )
    open_reading = True

    async def test_the_header_of_another_than_the_proxy_is_refused(self) -> None:
        self.roles.append(RoleEntry(role=Role.ADMIN, user="ada"))
        for headers in (
            {"X-Forwarded-User": "ada"},
            {"x-forwarded-user": "ada", "X-Forwarded-For": "192.0.2.1"},
            {"X-Forwarded-Groups": "staff"},
            {"X-Forwarded-User": ""},
            {**(await self.log_in()), "X-Forwarded-User": "ada"},
        ):
            for path in ("/api/v1/runs", "/api/v1/me", "/api/v1/audit", "/healthz"):
                told = await self.code("GET", path, headers=headers)
                self.assertEqual(told, (403, "untrusted_proxy"), headers)

    async def test_nobody_but_the_proxy_says_where_they_are(self) -> None:
        for _ in range(12):
            response = await self.form(
                "/login", {"user": "eve", "password": "x"}, X_Forwarded_For="203.0.113.9"
            )
            await response.content()
        rows = await self.database.rows("SELECT DISTINCT address FROM act")
        self.assertEqual([row[0] for row in rows], ["127.0.0.1"])
        self.assertEqual(response.code, 429)

    async def test_a_token_is_a_token_whatever_stands_beside_it(self) -> None:
        told = await self.me({**self.bearer, "X-Forwarded-User": "ada"})
        self.assertEqual((told["who"], told["by"]), ("farm token", "token"))


class SecretTests(PeopleCase):
    """Others share the proxy's address: it shows a secret."""

    proxy = ProxyPeople(
        Proxy(
            header="X-Forwarded-User",
            from_=("127.0.0.1",),
            secret_header="X-Proxy-Secret",
            secret_file="x",
        ),
        "between us",
    )

    async def test_the_header_is_taken_with_the_secret_only(self) -> None:
        good = {"X-Forwarded-User": "ada", "X-Proxy-Secret": "between us"}
        self.assertEqual((await self.me(good))["by"], "proxy")
        for secret in (None, "", "between u", "between us ", "between us!"):
            headers = {"X-Forwarded-User": "ada"}
            if secret is not None:
                headers["X-Proxy-Secret"] = secret
            told = await self.code("GET", "/api/v1/me", headers=headers)
            wanted = (200, "") if secret == "between us " else (403, "untrusted_proxy")
            self.assertEqual(told, wanted, secret)


class NoSecretTests(PeopleCase):
    proxy = ProxyPeople(
        Proxy(
            header="X-Forwarded-User",
            from_=("127.0.0.1",),
            secret_header="X-Proxy-Secret",
            secret_file="x",
        ),
        None,
    )

    async def test_a_secret_that_is_empty_is_never_shown(self) -> None:
        headers = {"X-Forwarded-User": "ada", "X-Proxy-Secret": ""}
        told = await self.code("GET", "/api/v1/me", headers=headers)
        self.assertEqual(told, (403, "untrusted_proxy"))

from __future__ import annotations

from tests.buildmaster.http.farm_site import SiteCase


class HostTests(SiteCase):
    hosts = ("Farm.example", "192.0.2.7", "2001:db8::7")

    async def ask_as(self, host: str, method: str = "GET", **headers: str) -> bytes:
        lines = [f"{method} /healthz HTTP/1.1", f"Host: {host}", "Connection: close"]
        lines += [f"{name}: {value}" for name, value in headers.items()]
        raw = await self.raw("\r\n".join(lines).encode() + b"\r\n\r\n")
        return await raw.closed

    async def test_names_that_the_farm_was_told_are_known_with_any_port(self) -> None:
        for host in (
            "localhost",
            "127.0.0.1:8010",
            "[::1]:8010",
            "farm.example",
            "FARM.example.:443",
            "192.0.2.7",
            "[2001:db8::7]:80",
        ):
            self.assertIn(b" 200 OK\r\n", await self.ask_as(host), host)

    async def test_a_name_that_was_made_to_point_here_is_refused(self) -> None:
        """DNS rebinding: the attacker's own name resolves to this machine."""
        for host in (
            "evil.example",
            "localhost.evil.example",
            "evil.example:8010",
            "127.0.0.1@evil.example",
            "127.0.0.2",
            "[::2]",
            "localhost:80:80",
            "localhost/../evil",
            "",
        ):
            told = await self.ask_as(host)
            self.assertIn(b" 403 Forbidden\r\n", told, host)
            self.assertIn(b'"code":"unknown_host"', told)

    async def test_no_host_or_two_are_refused(self) -> None:
        none = await self.raw(b"GET /healthz HTTP/1.1\r\nConnection: close\r\n\r\n")
        self.assertIn(b" 400 Bad Request\r\n", await none.closed)
        two = await self.ask_as("localhost\r\nHost: localhost")
        self.assertIn(b" 400 Bad Request\r\n", two)


class OriginTests(SiteCase):
    hosts = ("farm.example",)

    async def cancel(self, origin: str, host: str | None = None) -> int:
        headers = {"Origin": origin}
        if host is not None:
            headers["Host"] = host
        response = await self.post(f"/api/v1/jobs/{self.job}/cancel", {}, **headers)
        await response.content()
        return int(response.code)

    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        self.job = await self.rows.job()

    async def test_pages_of_this_farm_may_write(self) -> None:
        self.assertEqual(await self.cancel(self.url), 202)
        self.assertEqual(await self.cancel("http://farm.example", "farm.example"), 202)
        self.assertEqual(await self.cancel("https://farm.example", "farm.example:443"), 202)
        self.assertEqual(await self.cancel("http://farm.example:80", "farm.example"), 202)

    async def test_pages_of_others_may_not_even_with_the_token(self) -> None:
        for origin in (
            "http://evil.example",
            "null",
            "http://127.0.0.1",
            f"http://127.0.0.1:{self.port + 1}",
            f"http://localhost:{self.port}",
            f"file://127.0.0.1:{self.port}",
            f"http://127.0.0.1:{self.port}.evil.example",
            f"http://127.0.0.1:{self.port}/",
            "",
        ):
            self.assertEqual(await self.cancel(origin), 403, origin)
        self.assertEqual(self.farm.asked, [])

    async def test_pages_of_others_may_not_send_files(self) -> None:
        response = await self.ask(
            "PUT",
            f"/api/v1/artifacts/{'0' * 64}",
            data=b"x",
            headers={**self.bearer, "Origin": "http://evil.example"},
        )
        await self.assert_problem(response, 403, "foreign_origin")


class TokenTests(SiteCase):
    async def ask_with(self, authorization: str | None) -> tuple[int, str]:
        headers = {} if authorization is None else {"Authorization": authorization}
        response = await self.ask("POST", "/api/v1/jobs/1/cancel", json={}, headers=headers)
        return response.code, (await response.json())["code"]

    async def test_writing_needs_the_farms_token(self) -> None:
        token = self.tokens.farm_token
        for authorization in (
            None,
            token,
            "Bearer",
            "Bearer ",
            f"Basic {token}",
            f"Bearer {token[:-1]}",
            f"Bearer {token}x",
            f"Bearer {token.upper()}x",
            "Bearer \u00e9\u00e9",
            "Bearer attempt.1.1.00",
            f"Bearer attempt.x.1.{'0' * 64}",
        ):
            told = await self.ask_with(authorization)
            self.assertEqual(told, (401, "unauthorized"), authorization)
        self.assertEqual(await self.ask_with(f"bearer {token}"), (404, "not_found"))

    async def test_the_answer_says_how_to_ask(self) -> None:
        response = await self.ask("POST", "/api/v1/runs", json={})
        [how] = response.headers.getRawHeaders("www-authenticate")
        self.assertTrue(how.startswith("Bearer "))

    async def test_the_token_of_an_attempt_cannot_cancel(self) -> None:
        job = await self.rows.job()
        await self.rows.attempt(job)
        token = self.tokens.attempt_token(job, 1)
        self.assertEqual(await self.ask_with(f"Bearer {token}"), (403, "not_allowed"))
        self.assertEqual(self.farm.asked, [])

    async def test_a_wrong_token_is_told_also_where_none_is_needed(self) -> None:
        response = await self.get("/api/v1/runs", Authorization="Bearer wrong")
        await self.assert_problem(response, 401, "unauthorized")

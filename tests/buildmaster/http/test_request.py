from __future__ import annotations

import re
import tracemalloc
from typing import Any

from twisted.internet.defer import Deferred

from buildmaster.http import outlet as outlet_module
from buildmaster.http import request as request_module
from buildmaster.http.call import BODY_LIMIT
from buildmaster.http.outlet import RequestOutlet
from buildmaster.http.pages import Pages
from tests.buildmaster.http.farm_site import SiteCase


class WireTests(SiteCase):
    async def status(self, data: bytes) -> int:
        """The status of the only answer that ``data`` gets before the line closes."""
        told = await (await self.raw(data)).closed
        self.assertEqual(told.count(b"HTTP/1.1 "), 1, told[:400])
        return int(told.split(b" ")[1])

    def post(self, **headers: str) -> bytes:  # type: ignore[override]
        return self.head(
            "POST /api/v1/runs HTTP/1.1",
            **{"Content_Type": "application/json", "Connection": "close", **headers},
        )

    async def test_a_large_body_is_refused_before_it_is_sent(self) -> None:
        allowed = self.bearer["Authorization"]
        raw = await self.raw(
            self.post(Content_Length=str(BODY_LIMIT + 1), Authorization=allowed)
        )
        self.assertIn(b"HTTP/1.1 413 ", await raw.until(b'"status":413'))

    async def test_a_body_in_chunks_is_refused_when_it_grows_too_large(self) -> None:
        raw = await self.raw(
            self.post(
                Transfer_Encoding="chunked", Authorization=self.bearer["Authorization"]
            )
        )
        for _ in range(BODY_LIMIT // 100_000 + 1):
            raw.send(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")
        self.assertIn(b"HTTP/1.1 413 ", await raw.until(b'"status":413'))
        raw.send(b"0\r\n\r\n")
        self.assertEqual((await raw.closed).count(b"HTTP/1.1 "), 1)

    async def test_a_body_in_chunks_is_read(self) -> None:
        body = b'{"source": 7}'
        data = self.post(
            Transfer_Encoding="chunked", Authorization=self.bearer["Authorization"]
        )
        for byte in body:
            data += b"1\r\n" + bytes([byte]) + b"\r\n"
        self.assertEqual(await self.status(data + b"0\r\n\r\n"), 400)

    async def test_a_body_of_a_get_is_bounded_too(self) -> None:
        raw = await self.raw(
            self.head("GET /healthz HTTP/1.1", Content_Length=str(BODY_LIMIT + 1))
        )
        await raw.until(b"HTTP/1.1 413 ")

    async def test_a_truncated_body_is_never_acted_on(self) -> None:
        raw = await self.raw(
            self.post(Content_Length="100", Authorization=self.bearer["Authorization"])
            + b'{"source": {"kind": "git"'
        )
        transport: Any = raw.transport
        transport.loseConnection()
        await raw.closed
        await self.get("/healthz")
        self.assertEqual(self.farm.asked, [])

    async def test_two_lengths_and_other_smuggling_are_refused(self) -> None:
        for headers in (
            "Content-Length: 5\r\nContent-Length: 6",
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Content-Length: +5",
            "Content-Length: 0x5",
            "Transfer-Encoding: chunked, identity",
        ):
            data = (
                f"POST /api/v1/runs HTTP/1.1\r\nHost: localhost\r\n{headers}\r\n\r\nhello"
            ).encode()
            self.assertEqual(await self.status(data), 400, headers)

    async def test_huge_headers_are_refused(self) -> None:
        many = {f"X_{number}": "y" for number in range(600)}
        for data in (
            self.head("GET /healthz HTTP/1.1", X="y" * 100_000),
            self.head("GET /healthz HTTP/1.1", **many),
            self.head(f"GET /{'x' * 100_000} HTTP/1.1"),
        ):
            self.assertNotIn(b" 200 ", await (await self.raw(data)).closed)

    async def test_what_a_client_sends_never_becomes_a_header(self) -> None:
        for path in (
            "/api/v1/jobs/1%0d%0aX-Evil:%201/x",
            "/api/v1/runs?limit=%0d%0aX-Evil:%201",
            "/api/v1/runs?state=open&after=5&%0d%0aX-Evil:=1",
        ):
            raw = await self.raw(
                self.head(
                    f"GET {path} HTTP/1.1",
                    Connection="close",
                    Origin="x%0d%0aX-Evil: 1",
                )
            )
            head = (await raw.closed).partition(b"\r\n\r\n")[0]
            self.assertNotIn(b"\r\nx-evil", head.lower())
        raw = await self.raw(self.head("FR\tOB /api/v1/runs HTTP/1.1", Connection="close"))
        self.assertIn(b"HTTP/1.1 400 ", await raw.closed)

    async def test_an_absolute_address_does_not_get_around_the_host(self) -> None:
        data = b"GET http://localhost/healthz HTTP/1.1\r\nHost: evil.example\r\n"
        self.assertEqual(await self.status(data + b"Connection: close\r\n\r\n"), 403)

    async def test_old_clients_are_answered(self) -> None:
        raw = await self.raw(b"GET /healthz HTTP/1.0\r\nHost: localhost\r\n\r\n")
        self.assertIn(b" 200 OK\r\n", await raw.closed)

    async def test_a_client_that_goes_on_sending_after_a_refusal_is_cut_off(self) -> None:
        self.patch(request_module, "_NOTICE", 0.05)
        raw = await self.raw(self.post(Content_Length="1000000"))
        await raw.until(b"HTTP/1.1 401 ")
        raw.send(b"x" * 1000)
        await raw.closed

    async def test_a_client_that_takes_nothing_is_given_up(self) -> None:
        self.patch(outlet_module, "PATIENCE", 0.05)
        given_up: Deferred[None] = Deferred()
        give_up = RequestOutlet._give_up

        def remember(outlet: RequestOutlet) -> None:
            give_up(outlet)
            given_up.callback(None)

        self.patch(RequestOutlet, "_give_up", remember)
        job = await self.rows.job()
        await self.rows.attempt(job)
        end = 0
        for _ in range(60):
            end = await self.rows.log(job, bytes(250_000), start=end)
        raw = await self.raw(self.head(f"GET /api/v1/jobs/{job}/log HTTP/1.1"))
        transport: Any = raw.transport
        transport.pauseProducing()
        await given_up
        transport.resumeProducing()
        self.assertLess(len(await raw.closed), end)

    async def test_a_long_log_is_sent_in_bounded_memory(self) -> None:
        job = await self.rows.job()
        await self.rows.attempt(job)
        end = 0
        for _ in range(120):
            end = await self.rows.log(job, bytes(250_000), start=end)
        tracemalloc.start()
        self.addCleanup(tracemalloc.stop)
        raw = await self.raw(self.head(f"GET /api/v1/jobs/{job}/log HTTP/1.1"))
        received = 0
        while received < end:
            await self.get("/healthz")
            received += len(raw.data)
            raw.data = b""
        self.assertLess(tracemalloc.get_traced_memory()[1], end // 2)


class HealthTests(SiteCase):
    async def test_a_master_that_works_says_so(self) -> None:
        self.assertEqual(
            await self.json("/healthz"), {"status": "ok", "master": "m1", "database": "ok"}
        )

    async def test_a_master_without_its_database_says_so(self) -> None:
        await self.database.stop()
        response = await self.get("/healthz")
        self.assertEqual(response.code, 503)
        self.assertEqual((await response.json())["database"], "away")
        response = await self.get("/api/v1/runs")
        await self.assert_problem(response, 503, "not_now")


class PageTests(SiteCase):
    async def test_the_page_and_all_it_is_made_of_are_served(self) -> None:
        response = await self.get("/")
        page = await response.text()
        self.assertEqual(
            response.headers.getRawHeaders("content-type"), ["text/html; charset=utf-8"]
        )
        [policy] = response.headers.getRawHeaders("content-security-policy")
        self.assertIn("default-src 'none'; script-src 'self'", policy)
        self.assertNotIn("unsafe", policy)
        for name, kind in (
            ("app.js", "text/javascript; charset=utf-8"),
            ("style.css", "text/css; charset=utf-8"),
            ("icon.svg", "image/svg+xml"),
        ):
            self.assertIn(f'"/page/{name}"', page)
            part = await self.get(f"/page/{name}")
            self.assertEqual(part.headers.getRawHeaders("content-type"), [kind])
            [etag] = part.headers.getRawHeaders("etag")
            await part.content()
            again = await self.get(f"/page/{name}", If_None_Match=etag)
            self.assertEqual(again.code, 304)

    async def test_no_part_of_it_comes_from_elsewhere_or_writes_html(self) -> None:
        names = Pages().names
        self.assertGreater(len(names), 20)
        for name in names:
            text = await (await self.get(f"/page/{name}")).text()
            text = text.replace('xmlns="http://www.w3.org/2000/svg"', "")
            for word in (
                "innerHTML",
                "outerHTML",
                "insertAdjacent",
                "document.write",
                "eval(",
                "new Function",
                "://",
                "style=",
                "srcdoc",
                "DOMParser",
            ):
                self.assertNotIn(word, text, name)

    async def test_every_part_that_a_part_names_is_there(self) -> None:
        pages = Pages()
        for name in pages.names:
            text = await (await self.get(f"/page/{name}")).text()
            for wanted in re.findall(r'"/page/([^"$`]+)"', text):
                self.assertIn(wanted, pages.names, name)

    async def test_only_its_own_files_are_served(self) -> None:
        for name in (
            *("site.py", "..%2Fsite.py", "", "app.js%00", "APP.JS", "show", "show/"),
            *("show/..", "show/../app.js", "show%2Fdom.js", "show/dom.js/x"),
        ):
            await self.assert_problem(await self.get(f"/page/{name}"), 404, "not_found")

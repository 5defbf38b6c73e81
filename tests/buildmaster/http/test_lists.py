from __future__ import annotations

import gzip
import json
from urllib.parse import urlencode

from tests.buildmaster.http.farm_site import SiteCase
from tests.buildmaster.http.rows import HOSTILE


class ListTests(SiteCase):
    async def test_runs_come_in_pages_that_link_to_each_other(self) -> None:
        runs = [await self.rows.run() for _ in range(3)]
        first = await self.json("/api/v1/runs?limit=2&state=open")
        self.assertEqual([run["id"] for run in first["runs"]], runs[:0:-1])
        second = await self.json(f"/api/v1/runs?limit=2&state=open&after={first['next']}")
        self.assertEqual([run["id"] for run in second["runs"]], runs[:1])
        self.assertIsNone(second["next"])

    async def test_jobs_workers_and_single_things_are_served(self) -> None:
        run = await self.rows.run()
        job = await self.rows.job(run)
        await self.rows.worker("ant")
        self.assertEqual((await self.json(f"/api/v1/jobs?run={run}"))["jobs"][0]["id"], job)
        self.assertEqual((await self.json(f"/api/v1/jobs/{job}"))["id"], job)
        self.assertEqual((await self.json(f"/api/v1/runs/{run}"))["jobs"][0]["id"], job)
        self.assertEqual((await self.json("/api/v1/workers"))["workers"][0]["id"], "ant")
        self.assertEqual((await self.json("/api/v1/workers/ant"))["name"], "ant")

    async def test_workers_come_in_pages_whatever_their_names(self) -> None:
        for name in ('a&limit="', "b c", "\u00e9/"):
            await self.rows.worker(name)
        address = "/api/v1/workers?limit=1"
        page = await self.json(address)
        seen = [worker["name"] for worker in page["workers"]]
        while page["next"] is not None:
            page = await self.json(f"{address}&{urlencode({'after': page['next']})}")
            seen += [worker["name"] for worker in page["workers"]]
        self.assertEqual(sorted(seen), sorted(['a&limit="', "b c", "\u00e9/"]))
        found = await self.json("/api/v1/workers/%C3%A9%2F")
        self.assertEqual(found["name"], "\u00e9/")

    async def test_a_snapshot_and_what_follows_its_cursor_leave_no_gap(self) -> None:
        await self.rows.until_readable(await self.rows.event("before"))
        cursor = (await self.json("/api/v1/runs"))["cursor"]
        await self.rows.until_readable(await self.rows.event("after"))
        told = await self.json(f"/api/v1/events?since={cursor}")
        self.assertEqual([event["kind"] for event in told["events"]], ["after"])

    async def test_what_does_not_exist_is_a_problem(self) -> None:
        for path in (
            "/api/v1/runs/7",
            "/api/v1/jobs/7",
            "/api/v1/jobs/0",
            "/api/v1/jobs/-1",
            "/api/v1/jobs/1e3",
            "/api/v1/jobs/9223372036854775808",
            "/api/v1/jobs/%D9%A7",
            "/api/v1/workers/nobody",
            "/api/v1/workers/%00",
            "/api/v1/workers/%FF",
            "/api/v1/",
            "/api/v2/runs",
            "/page/../site.py",
            "/page/..%2Fsite.py",
            "//",
        ):
            await self.assert_problem(await self.get(path), 404, "not_found")

    async def test_parameters_are_checked_and_named(self) -> None:
        for query, code, name in (
            ("limit=0", "bad_parameter", "limit"),
            ("limit=1001", "bad_parameter", "limit"),
            ("limit=ten", "bad_parameter", "limit"),
            ("limit=1_0", "bad_parameter", "limit"),
            ("limit=", "bad_parameter", "limit"),
            ("after=-1", "bad_parameter", "after"),
            ("after=9223372036854775808", "bad_parameter", "after"),
            ("after=99999999999999999999999", "bad_parameter", "after"),
            ("state=happy", "bad_parameter", "state"),
            ("state=open&state=done", "bad_query", "state"),
            ("limit=1.0", "bad_parameter", "limit"),
            ("limit=1e2", "bad_parameter", "limit"),
            ("state=open,happy", "bad_parameter", "state"),
            ("order=name", "bad_parameter", "order"),
            ("fields=id,nothing", "bad_parameter", "nothing"),
            ("fields=id%27", "bad_parameter", "fields"),
            ("before=1", "unknown_parameter", "before"),
            ("state=%00", "bad_parameter", "state"),
            ("state=%FF", "bad_query", ""),
            ("&".join(f"p{n}=1" for n in range(100)), "bad_query", ""),
        ):
            response = await self.get(f"/api/v1/runs?{query}")
            problem = await self.assert_problem(response, 400, code)
            self.assertIn(name, problem["detail"])

    async def test_sql_in_a_parameter_is_a_word_like_others(self) -> None:
        await self.rows.job()
        page = await self.json("/api/v1/jobs?kind=%27%20OR%20true%20--")
        self.assertEqual(page["jobs"], [])

    async def test_hostile_text_arrives_as_it_is_and_is_never_html(self) -> None:
        job = await self.rows.job(name=HOSTILE)
        response = await self.get(f"/api/v1/jobs/{job}")
        self.assertEqual((await response.json())["name"], HOSTILE)
        headers = response.headers
        self.assertEqual(
            headers.getRawHeaders("content-type"), ["application/json; charset=utf-8"]
        )
        self.assertEqual(headers.getRawHeaders("x-content-type-options"), ["nosniff"])
        self.assertIn("sandbox", headers.getRawHeaders("content-security-policy")[0])
        self.assertIsNone(headers.getRawHeaders("x-evil"))


class ValidationTests(SiteCase):
    async def test_an_unchanged_list_is_not_sent_again(self) -> None:
        await self.rows.run()
        first = await self.get("/api/v1/runs")
        [etag] = first.headers.getRawHeaders("etag")
        self.assertRegex(etag, r'^"[0-9a-f]+"$')
        await first.content()
        again = await self.get("/api/v1/runs", If_None_Match=f'"other", {etag}')
        self.assertEqual((again.code, await again.content()), (304, b""))
        await self.rows.run()  # without an event, as no farm does it
        changed = await self.get(
            "/api/v1/runs", If_None_Match=etag, Cache_Control="no-cache"
        )
        self.assertEqual(changed.code, 200)
        self.assertEqual(len((await changed.json())["runs"]), 2)

    async def test_who_changed_something_finds_it_changed(self) -> None:
        job = await self.rows.job()
        await self.json(f"/api/v1/jobs/{job}")
        await self.database.run("UPDATE job SET name = 'other' WHERE id = %s", (job,))
        await self.post(f"/api/v1/jobs/{job}/cancel", {})
        self.assertEqual((await self.json(f"/api/v1/jobs/{job}"))["name"], "other")

    async def test_a_long_list_is_packed_for_who_can_unpack(self) -> None:
        for _ in range(80):
            await self.rows.run()
        plain = await (await self.get("/api/v1/runs")).content()
        raw = await self.raw(
            self.head(
                "GET /api/v1/runs HTTP/1.1", Accept_Encoding="br, gzip", Connection="close"
            )
        )
        head, _, body = (await raw.closed).partition(b"\r\n\r\n")
        self.assertIn(b"content-encoding: gzip", head.lower())
        self.assertIn(b"vary: accept-encoding", head.lower())
        self.assertIn(b'-gzip"', head)
        self.assertEqual(json.loads(gzip.decompress(body)), json.loads(plain))
        self.assertLess(len(body), len(plain) / 3)

    async def test_head_has_the_headers_of_get_and_no_body(self) -> None:
        await self.rows.run()
        got = await self.get("/api/v1/runs")
        length = len(await got.content())
        head = await self.ask("HEAD", "/api/v1/runs")
        self.assertEqual(head.code, 200)
        self.assertEqual(head.headers.getRawHeaders("content-length"), [str(length)])
        self.assertEqual(
            head.headers.getRawHeaders("etag"), got.headers.getRawHeaders("etag")
        )
        self.assertEqual(await head.content(), b"")

    async def test_options_and_wrong_methods_tell_what_is_allowed(self) -> None:
        options = await self.ask("OPTIONS", "/api/v1/runs")
        self.assertEqual(options.code, 204)
        allowed = "GET, HEAD, OPTIONS, POST"
        self.assertEqual(options.headers.getRawHeaders("allow"), [allowed])
        self.assertIsNone(options.headers.getRawHeaders("access-control-allow-origin"))
        for method in ("DELETE", "PATCH", "FROB"):
            response = await self.ask(method, "/api/v1/runs", headers=self.bearer)
            await self.assert_problem(response, 405, "method_not_allowed")
            self.assertEqual(response.headers.getRawHeaders("allow"), [allowed])

    async def test_a_connection_serves_many_requests(self) -> None:
        raw = await self.raw(
            self.head("GET /healthz HTTP/1.1") * 2
            + self.head("GET /api/v1/nothing HTTP/1.1")
            + self.head("GET /healthz HTTP/1.1", Connection="close")
        )
        told = await raw.closed
        self.assertEqual(told.count(b"HTTP/1.1 200 OK"), 3)
        self.assertEqual(told.count(b"HTTP/1.1 404 Not Found"), 1)

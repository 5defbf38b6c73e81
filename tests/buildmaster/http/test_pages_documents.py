"""The documents of pages over HTTP: packed, validated, remembered, and never stale."""

from __future__ import annotations

from tests.buildmaster.http.farm_site import SiteCase


class PageDocumentTests(SiteCase):
    async def test_what_did_not_change_is_not_sent_again_and_then_is(self) -> None:
        run = await self.rows.run()
        for path in ("/api/v1/grid", f"/api/v1/runs/{run}/graph"):
            first = await self.get(path)
            [etag] = first.headers.getRawHeaders("etag")
            await first.content()
            again = await self.get(path, If_None_Match=etag)
            self.assertEqual(again.code, 304)
            job = await self.rows.job(run)
            # Whoever hears of it and asks finds it.
            place = await self.rows.event("job.ready", job=job)
            await self.rows.until_readable(place)
            while True:
                changed = await self.get(path, If_None_Match=etag)
                if changed.code == 200:
                    break
            self.assertIn(str(job), (await changed.content()).decode())

    async def test_long_ones_are_packed(self) -> None:
        for _ in range(40):
            await self.rows.job(await self.rows.run())
        raw = await self.raw(self.head("GET /api/v1/grid HTTP/1.1", Accept_Encoding="gzip"))
        head = await raw.until(b"\r\n\r\n")
        self.assertIn(b"content-encoding: gzip", head.lower())

    async def test_parameters_that_make_no_sense_are_refused(self) -> None:
        for path in (
            "/api/v1/grid?limit=0",
            "/api/v1/grid?limit=1001",
            "/api/v1/grid?cells=all",
            "/api/v1/grid?after=-1",
            "/api/v1/queue?after=1",
            "/api/v1/queue?after=1-2",
            "/api/v1/queue?fields=id",
            "/api/v1/history?after=1-2",
            f"/api/v1/history?after={'9' * 19}-1-1",
            "/api/v1/timeline?since=yesterday",
            "/api/v1/timeline?since=2026-02-30T00:00:00Z",
            "/api/v1/timeline?limit=10001",
            "/api/v1/timeline?worker=%00",
            "/api/v1/jobs/1/whole?tail=262145",
            "/api/v1/jobs/1/whole?tail=-1",
            "/api/v1/jobs/1/whole?attempt=0",
        ):
            response = await self.get(path)
            self.assertEqual(response.code, 400, path)
            await response.content()
        for path in ("/api/v1/history", "/api/v1/queue", "/api/v1/grid"):
            # As SQL that somebody would like to be run.
            response = await self.get(f"{path}?owner=%27%3B+DROP+TABLE+job%3B--")
            self.assertEqual(response.code, 200)
            await response.content()
        self.assertEqual(await self.database.rows("SELECT count(*) FROM job"), [(0,)])

from __future__ import annotations

import hashlib
import os
from typing import Any

from tests.buildmaster.http.farm_site import UPLOAD_LIMIT, SiteCase

CONTENT = bytes(range(256)) * 4000
SHA256 = hashlib.sha256(CONTENT).hexdigest()
ADDRESS = f"/api/v1/artifacts/{SHA256}"


class ArtifactCase(SiteCase):
    async def put(self, content: bytes, sha256: str | None = None, **headers: str) -> Any:
        name = hashlib.sha256(content).hexdigest() if sha256 is None else sha256
        return await self.ask(
            "PUT",
            f"/api/v1/artifacts/{name}",
            data=content,
            headers={**self.bearer, **headers},
        )

    def stored(self) -> list[str]:
        """Every file below the blob folder, however it got there."""
        return [name for _, _, names in os.walk(self.blob_folder) for name in names if name]

    async def attempt(self) -> tuple[int, dict[str, str]]:
        job = await self.rows.job()
        await self.rows.attempt(job)
        token = self.tokens.attempt_token(job, 1)
        return job, {"Authorization": f"Bearer {token}"}


class PutTests(ArtifactCase):
    async def test_a_file_is_stored_once_and_told_which(self) -> None:
        for status in (201, 200):
            response = await self.put(CONTENT)
            self.assertEqual(response.code, status, await response.text())
            self.assertEqual(
                await response.json(), {"sha256": SHA256, "size": len(CONTENT)}
            )
        rows = await self.database.rows("SELECT encode(sha256, 'hex'), size FROM blob")
        self.assertEqual(rows, [(SHA256, len(CONTENT))])
        path = self.blobs.path(SHA256)
        assert path is not None
        self.assertEqual(path.read_bytes(), CONTENT)

    async def test_an_empty_file_is_a_file(self) -> None:
        response = await self.put(b"")
        self.assertEqual(response.code, 201, await response.text())

    async def test_another_content_than_the_address_says_is_not_kept(self) -> None:
        response = await self.put(CONTENT[1:], SHA256)
        await self.assert_problem(response, 422, "wrong_hash")
        self.assertEqual(self.stored(), [])
        await (await self.put(CONTENT)).content()
        response = await self.put(CONTENT[1:], SHA256)
        await self.assert_problem(response, 422, "wrong_hash")

    async def test_ways_out_of_the_folder_are_no_hashes(self) -> None:
        for name in (
            "..%2F..%2Fetc%2Fpasswd",
            "../" * 3 + "x",
            SHA256.upper(),
            SHA256[:-1],
            SHA256 + "0",
            SHA256 + "%0A",
            "%2E%2E",
            "%D9%A1" * 64,
            "%00" * 64,
        ):
            raw = await self.raw(
                self.head(
                    f"PUT /api/v1/artifacts/{name} HTTP/1.1",
                    Authorization=self.bearer["Authorization"],
                    Content_Length="1",
                    Connection="close",
                )
                + b"x"
            )
            self.assertIn(b"HTTP/1.1 404 ", await raw.closed)
        self.assertEqual(self.stored(), [])

    async def test_a_body_that_breaks_off_leaves_nothing(self) -> None:
        raw = await self.raw(
            self.head(
                f"PUT {ADDRESS} HTTP/1.1",
                Authorization=self.bearer["Authorization"],
                Content_Length=str(len(CONTENT)),
            )
            + CONTENT[:100_000]
        )
        while not self.stored():
            await self.get("/healthz")
        transport: Any = raw.transport
        transport.abortConnection()
        await raw.closed
        while self.stored():
            await self.get("/healthz")
        self.assertEqual(await self.database.rows("SELECT FROM blob"), [])

    async def broken_off(self, content: bytes, after: int, **headers: str) -> None:
        """A PUT of ``content`` of which only so much arrives."""
        digest = hashlib.sha256(content).hexdigest()
        raw = await self.raw(
            self.head(
                f"PUT /api/v1/artifacts/{digest} HTTP/1.1",
                Content_Length=str(len(content)),
                **headers,
            )
            + content[:after]
        )
        while sum(map(os.path.getsize, self.stored_paths())) < after:
            await self.get("/healthz")
        transport: Any = raw.transport
        transport.abortConnection()
        await raw.closed

    def stored_paths(self) -> list[str]:
        return [
            os.path.join(folder, name)
            for folder, _, names in os.walk(self.blob_folder)
            for name in names
        ]

    async def test_a_large_body_that_broke_off_goes_on_where_it_stopped(self) -> None:
        content, after = os.urandom(2_500_000), 1_500_000
        address = f"/api/v1/artifacts/{hashlib.sha256(content).hexdigest()}"
        await self.broken_off(content, after, **self.bearer)
        there = None
        while there is None:  # The server hears of it a moment later.
            response = await self.ask("HEAD", address, headers=self.bearer)
            there = response.headers.getRawHeaders("upload-offset")
        self.assertEqual((response.code, there), (404, [str(after)]))

        def part(first: int) -> dict[str, str]:
            return {"Content-Range": f"bytes {first}-{len(content) - 1}/{len(content)}"}

        # Nobody else can go on with it, or spoil it.
        _, other = await self.attempt()
        for bearer, first in ((other, after), (self.bearer, after - 1)):
            response = await self.ask(
                "PUT", address, data=content[first:], headers={**bearer, **part(first)}
            )
            await self.assert_problem(response, 409, "other_place")
        for wrong in ("bytes 1-2/3", "bytes */9", "bytes 0-1/x", "lines 1-2/3"):
            response = await self.ask(
                "PUT",
                address,
                data=content[after:],
                headers={**self.bearer, "Content-Range": wrong},
            )
            await self.assert_problem(response, 400, "bad_range")
        response = await self.ask(
            "PUT", address, data=content[after:], headers={**self.bearer, **part(after)}
        )
        self.assertEqual(response.code, 201, await response.text())
        response = await self.ask("GET", address, headers=self.bearer)
        self.assertEqual(await response.content(), content)
        self.assertEqual(len(self.stored()), 1)

    async def test_a_rest_that_does_not_fit_leaves_nothing(self) -> None:
        content, after = os.urandom(2_500_000), 1_500_000
        address = f"/api/v1/artifacts/{hashlib.sha256(content).hexdigest()}"
        await self.broken_off(content, after, **self.bearer)
        part = f"bytes {after}-{len(content) - 1}/{len(content)}"
        response = None
        while response is None or response.code == 409:
            response = await self.ask(
                "PUT",
                address,
                data=bytes(len(content) - after),
                headers={**self.bearer, "Content-Range": part},
            )
        await self.assert_problem(response, 422, "wrong_hash")
        self.assertEqual(self.stored(), [])

    async def refused(self, status: int, code: str, **headers: str) -> None:
        """The answer comes though not a byte of the body was sent."""
        raw = await self.raw(self.head(f"PUT {ADDRESS} HTTP/1.1", **headers))
        told = await raw.until(b'"status":')
        self.assertIn(f"HTTP/1.1 {status} ".encode(), told)
        self.assertIn(f'"code":"{code}"'.encode(), told)
        self.assertIn(b"Connection: close", told)
        self.assertNotIn(b"100 Continue", told)
        self.assertEqual(self.stored(), [])

    async def test_a_body_is_refused_before_it_is_sent(self) -> None:
        allowed = self.bearer["Authorization"]
        length = str(len(CONTENT))
        expect = "100-continue"
        await self.refused(401, "unauthorized", Content_Length=length, Expect=expect)
        await self.refused(
            401, "unauthorized", Content_Length=length, Authorization="Bearer x"
        )
        await self.refused(
            413,
            "too_large",
            Content_Length=str(UPLOAD_LIMIT + 1),
            Authorization=allowed,
            Expect=expect,
        )
        await self.refused(413, "too_large", Content_Length="9" * 30, Authorization=allowed)
        await self.refused(
            411, "length_required", Transfer_Encoding="chunked", Authorization=allowed
        )

    async def test_who_waits_to_be_told_to_go_on_is_told(self) -> None:
        raw = await self.raw(
            self.head(
                f"PUT {ADDRESS} HTTP/1.1",
                Authorization=self.bearer["Authorization"],
                Content_Length=str(len(CONTENT)),
                Expect="100-continue",
                Connection="close",
            )
        )
        await raw.until(b"100 Continue\r\n\r\n")
        raw.send(CONTENT)
        self.assertIn(b"HTTP/1.1 201 Created", await raw.closed)

    async def test_a_refused_body_is_thrown_away_and_the_answer_arrives(self) -> None:
        """The client sends on without looking, as most do."""
        raw = await self.raw(
            self.head(f"PUT {ADDRESS} HTTP/1.1", Content_Length=str(len(CONTENT))) + CONTENT
        )
        told = await raw.closed
        self.assertIn(b"HTTP/1.1 401 Unauthorized", told)
        self.assertEqual(told.count(b"HTTP/1.1"), 1)

    async def test_an_attempt_may_send_files_while_it_is_the_current_one(self) -> None:
        job, headers = await self.attempt()
        response = await self.put(b"one", **headers)
        self.assertEqual(response.code, 201, await response.text())
        await self.rows.end_attempt(job)
        response = await self.put(b"two", **headers)
        await self.assert_problem(response, 403, "attempt_over")
        self.assertEqual(len(self.stored()), 1)
        await self.rows.attempt(job, 2)
        await self.database.run("UPDATE job SET attempt = 2 WHERE id = %s", (job,))
        response = await self.put(b"two", **headers)
        await self.assert_problem(response, 403, "attempt_over")


class QuotaTests(ArtifactCase):
    def more(self) -> dict[str, Any]:
        return {**super().more(), "project_quota": 1000}

    async def test_a_projects_files_have_an_end_and_another_projects_do_not_count(
        self,
    ) -> None:
        job, headers = await self.attempt()
        await self.database.run(
            "UPDATE job SET repository = %s, source_digest = %s WHERE id = %s",
            ("https://x/one", "a" * 64, job),
        )
        other = await self.rows.job()
        await self.rows.attempt(other)
        await self.rows.artifact(other, "large", bytes(5000))
        response = await self.put(bytes(900), **headers)
        self.assertEqual(response.code, 201, await response.text())
        await self.rows.artifact(job, "dist/a", bytes(900))
        response = await self.put(b"x" * 101, **headers)
        await self.assert_problem(response, 413, "quota")
        response = await self.put(bytes(900), **headers)  # It is there already.
        self.assertEqual(response.code, 200, await response.text())
        response = await self.put(b"x" * 100, **headers)
        self.assertEqual(response.code, 201, await response.text())
        self.assertEqual(len(self.stored()), 2)
        # People with a token are not builds.
        response = await self.put(b"y" * 2000)
        self.assertEqual(response.code, 201, await response.text())


class GetTests(ArtifactCase):
    async def setUp(self) -> None:  # type: ignore[override]
        await super().setUp()
        await (await self.put(CONTENT)).content()

    async def publish(self) -> None:
        job = await self.rows.job()
        await self.rows.attempt(job)
        await self.rows.artifact(job, "dist/x", CONTENT)

    async def test_source_needs_a_token_and_artifacts_do_not(self) -> None:
        response = await self.get(ADDRESS)
        await self.assert_problem(response, 401, "unauthorized")
        response = await self.ask("GET", ADDRESS, headers=self.bearer)
        self.assertEqual(await response.content(), CONTENT)
        await self.publish()
        response = await self.get(ADDRESS)
        self.assertEqual((response.code, await response.content()), (200, CONTENT))
        for name, value in (
            ("content-type", "application/octet-stream"),
            ("content-disposition", f'attachment; filename="{SHA256}"'),
            ("x-content-type-options", "nosniff"),
            ("accept-ranges", "bytes"),
        ):
            self.assertEqual(response.headers.getRawHeaders(name), [value])
        self.assertEqual(response.length, len(CONTENT))

    async def test_what_another_master_shows_opens_that_file_and_nothing_else(self) -> None:
        def bearer(sha256: str) -> dict[str, str]:
            return {"Authorization": f"Bearer {self.tokens.file_token(sha256)}"}

        response = await self.ask("GET", ADDRESS, headers=bearer(SHA256))
        self.assertEqual(await response.content(), CONTENT)
        other = "0" * 64
        response = await self.ask("GET", ADDRESS, headers=bearer(other))
        await self.assert_problem(response, 403, "not_allowed")
        response = await self.ask(
            "PUT", f"/api/v1/artifacts/{other}", data=b"x", headers=bearer(other)
        )
        await self.assert_problem(response, 403, "not_allowed")
        response = await self.ask("GET", "/api/v1/tokens", headers=bearer(SHA256))
        await self.assert_problem(response, 403, "not_allowed")
        response = await self.ask(
            "GET", ADDRESS, headers={"Authorization": f"Bearer file.{SHA256}.{other}"}
        )
        await self.assert_problem(response, 401, "unauthorized")

    async def test_an_attempt_gets_its_own_source_and_no_other(self) -> None:
        job, headers = await self.attempt()
        response = await self.ask("GET", ADDRESS, headers=headers)
        await self.assert_problem(response, 403, "not_allowed")
        head = await self.ask("HEAD", ADDRESS, headers=headers)
        self.assertEqual(head.code, 200)
        await self.database.run(
            "UPDATE build SET source = jsonb_build_object('sha256', %s::text)",
            (SHA256,),
        )
        response = await self.ask("GET", ADDRESS, headers=headers)
        self.assertEqual(await response.content(), CONTENT)
        await self.rows.end_attempt(job)
        response = await self.ask("GET", ADDRESS, headers=headers)
        await self.assert_problem(response, 403, "attempt_over")

    async def test_who_has_no_token_does_not_learn_what_is_there(self) -> None:
        for name in (SHA256, "0" * 64):
            response = await self.get(f"/api/v1/artifacts/{name}")
            await self.assert_problem(response, 401, "unauthorized")
        response = await self.ask(
            "GET", f"/api/v1/artifacts/{'0' * 64}", headers=self.bearer
        )
        await self.assert_problem(response, 404, "not_found")

    async def test_ranges_are_served(self) -> None:
        await self.publish()
        size = len(CONTENT)
        for asked, first, end in (
            ("bytes=0-0", 0, 1),
            ("bytes=10-19", 10, 20),
            (f"bytes={size - 1}-", size - 1, size),
            ("bytes=-5", size - 5, size),
            (f"bytes=5-{size * 2}", 5, size),
            (f"bytes=-{size * 2}", 0, size),
        ):
            response = await self.get(ADDRESS, Range=asked)
            self.assertEqual(response.code, 206, asked)
            self.assertEqual(
                response.headers.getRawHeaders("content-range"),
                [f"bytes {first}-{end - 1}/{size}"],
            )
            self.assertEqual(await response.content(), CONTENT[first:end])
        for asked in (f"bytes={size}-", "bytes=-0", f"bytes={'9' * 19}-"):
            response = await self.get(ADDRESS, Range=asked)
            await self.assert_problem(response, 416, "no_such_range")
            self.assertEqual(
                response.headers.getRawHeaders("content-range"), [f"bytes */{size}"]
            )
        for asked in ("bytes=9-3", "bytes=-", "bytes=0-1,3-4", "lines=1-2", "bytes=a-b"):
            response = await self.get(ADDRESS, Range=asked)
            self.assertEqual((response.code, await response.content()), (200, CONTENT))

    async def test_a_download_goes_on_only_with_the_same_file(self) -> None:
        await self.publish()
        response = await self.get(ADDRESS, Range="bytes=0-1", If_Range=f'"{SHA256}"')
        self.assertEqual((response.code, await response.content()), (206, CONTENT[:2]))
        response = await self.get(ADDRESS, Range="bytes=0-1", If_Range='"other"')
        self.assertEqual((response.code, await response.content()), (200, CONTENT))
        response = await self.get(ADDRESS, If_None_Match=f'"{SHA256}"')
        self.assertEqual((response.code, await response.content()), (304, b""))

"""Questions, documents, problems, pages, events: what programs rely on."""

from __future__ import annotations

import re
import unittest
from typing import Any
from uuid import uuid4

from .farm import ApiCase

NONE = type(None)
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{6}Z\Z")
JOB: dict[str, Any] = {
    "id": int,
    "kind": str,
    "name": str,
    "state": str,
    "result": (str, NONE),
    "reason": str,
    "classification": (str, NONE),
    "root_cause": (int, NONE),
    "attempt": int,
    "architecture": str,
    "performs": (str, NONE),
    "isolation": str,
    "series": str,
    "repository": (str, NONE),
    "source_digest": (str, NONE),
    "refs": list,
    "runs": list,
    "owner": str,
    "requester": str,
    "worker": (str, NONE),
    "score": int,
    "manual_score": (int, NONE),
    "created_at": str,
    "ready_at": (str, NONE),
    "started_at": (str, NONE),
    "finished_at": (str, NONE),
}
RUN: dict[str, Any] = {
    "id": int,
    "state": str,
    "result": (str, NONE),
    "name": str,
    "repository": (str, NONE),
    "refs": list,
    "requester": str,
    "owner": str,
    "created_at": str,
    "finished_at": (str, NONE),
    "job_count": int,
    "jobs": list,
}


class VersionOneTests(ApiCase):
    """Each test queues jobs of its own, which nobody performs, and ends them."""

    def setUp(self) -> None:
        self.owner = f"owner-{uuid4().hex}"
        made = self.post(
            "/api/v1/jobs",
            {
                "name": "a graph",
                "owner": self.owner,
                "jobs": [
                    {"performs": "noop", "name": "first"},
                    {"performs": "noop", "name": "second", "needs": ["first"]},
                ],
            },
            201,
        )
        self.run_id = made["run"]
        self.first, self.second = (job["id"] for job in made["jobs"])
        self.addCleanup(self.ask, f"/api/v1/runs/{self.run_id}/cancel", {})

    def test_a_job_in_a_list_and_alone(self) -> None:
        page = self.get("/api/v1/jobs", owner=self.owner)
        self.shape(page, {"jobs": list, "next": (int, NONE), "cursor": str})
        self.assertEqual([job["id"] for job in page["jobs"]], [self.second, self.first])
        for job in page["jobs"]:
            self.shape(job, JOB)
            self.assertRegex(job["created_at"], TIME)
        one = self.get(f"/api/v1/jobs/{self.second}")
        self.shape(one, JOB)
        self.shape(one, {"pipeline_jobs": list, "attempts": list, "cursor": str})
        self.assertEqual([edge["job"] for edge in one["needs"]], [self.first])
        self.assertEqual(one["state"], "waiting")

    def test_a_run_in_a_list_and_alone(self) -> None:
        [run] = self.get("/api/v1/runs", owner=self.owner)["runs"]
        self.shape(run, RUN)
        self.assertEqual((run["id"], run["job_count"]), (self.run_id, 2))
        self.shape(self.get(f"/api/v1/runs/{self.run_id}"), RUN)

    def test_pages_orders_filters_and_fields(self) -> None:
        first = self.get("/api/v1/jobs", owner=self.owner, limit=1)
        second = self.get("/api/v1/jobs", owner=self.owner, limit=1, after=first["next"])
        self.assertEqual([job["id"] for job in second["jobs"]], [self.first])
        self.assertIsNone(second["next"])
        turned = self.get("/api/v1/jobs", owner=self.owner, order="id")
        self.assertEqual(turned["jobs"][0]["id"], self.first)
        some = self.get(
            "/api/v1/jobs",
            run=self.run_id,
            name="second",
            state="waiting,ready",
            fields="id",
        )
        self.assertEqual(some["jobs"], [{"id": self.second}])

    def test_the_documents_of_pages(self) -> None:
        overview = self.get("/api/v1/overview")
        self.shape(overview, {"at": str, "jobs": list, "workers": list, "owners": list})
        self.assertIn(self.owner, [each["owner"] for each in overview["owners"]])
        grid = self.get("/api/v1/grid", owner=self.owner)
        [row] = grid["rows"]
        self.assertEqual(
            sorted(cell[1] for cell in row["cells"]), [self.first, self.second]
        )
        for cell in row["cells"]:
            self.shape(grid["columns"][cell[0]], {"name": str, "architecture": str})
        graph = self.get(f"/api/v1/runs/{self.run_id}/graph")
        self.assertEqual(len(graph["nodes"]), 2)
        [edge] = graph["edges"]
        self.assertEqual((edge["from"], edge["to"]), (self.first, self.second))
        whole = self.get(f"/api/v1/jobs/{self.first}/whole")
        self.assertEqual(whole["job"]["id"], self.first)
        self.shape(whole["log"], {"text": str, "from": int, "length": int, "ended": bool})
        self.shape(whole["explanation"], {"summary": str})
        queue = self.get("/api/v1/queue", owner=self.owner)
        self.assertEqual([job["id"] for job in queue["jobs"]], [self.first])
        self.shape(queue["jobs"][0], {"place": int, "likely_start": (str, NONE)})
        self.shape(
            self.get("/api/v1/timeline"),
            {"workers": list, "bars": list, "names": list, "more": bool},
        )
        self.shape(self.get("/api/v1/history"), {"entries": list, "trend": list})
        for name in ("workers", "semaphores", "holds", "rules", "tokens"):
            self.assertIsInstance(self.get(f"/api/v1/{name}")[name], list)

    def test_a_job_is_explained(self) -> None:
        told = self.get(f"/api/v1/jobs/{self.second}/explain")
        self.shape(told, {"summary": str, "blocked_by": list, "state": str})

    def test_what_is_cancelled_ends(self) -> None:
        job = self.post(f"/api/v1/jobs/{self.first}/cancel", {"why": "a test"}, 202)
        self.assertEqual((job["state"], job["result"]), ("done", "cancelled"))
        down = self.get(f"/api/v1/jobs/{self.second}")
        self.assertEqual((down["result"], down["root_cause"]), ("unrun", self.first))

    def test_events_go_on_where_a_cursor_says(self) -> None:
        cursor = self.get("/api/v1/overview")["cursor"]
        self.post(f"/api/v1/jobs/{self.first}/cancel", {}, 202)
        page = self.get("/api/v1/events", since=cursor, job=self.first)
        self.shape(page["events"][0], {"id": str, "kind": str, "at": str, "payload": dict})
        self.assertIn("job.done", [event["kind"] for event in page["events"]])
        again = self.get("/api/v1/events", since=page["cursor"], job=self.first)
        self.assertEqual(again["events"], [])

    def test_a_list_is_followed_from_its_snapshot_on(self) -> None:
        path = f"/api/v1/jobs?owner={self.owner}"
        following = self.follow(path)
        place, kind, document = next(following)
        self.assertEqual((kind, len(document["jobs"])), ("snapshot", 2))
        self.post(f"/api/v1/jobs/{self.first}/cancel", {}, 202)
        kinds = [next(following)[1:] for _ in range(2)]
        self.assertEqual(
            sorted((kind, told["job"]) for kind, told in kinds),
            [("job.done", self.first), ("job.done", self.second)],
        )
        back = self.follow(path, {"Last-Event-ID": place})
        self.assertEqual(next(back)[1], "job.done")

    def test_what_did_not_change_is_not_sent_again(self) -> None:
        path = f"/api/v1/jobs/{self.first}"
        etag = self.ask(path).headers["ETag"]
        self.assertEqual(self.ask(path, headers={"If-None-Match": etag}).status, 304)

    def test_problems_keep_their_codes(self) -> None:
        for path, told in (
            ("/api/v1/jobs/999999999", (404, "not_found")),
            ("/api/v1/jobs?colour=red", (400, "unknown_parameter")),
            ("/api/v1/jobs?limit=0", (400, "bad_parameter")),
            ("/api/v1/events?since=yesterday", (400, "bad_event_id")),
        ):
            self.assertEqual(self.problem(path), told, path)
        self.assertEqual(self.problem("/api/v1/jobs", {"colour": "red"}), (400, "bad_body"))


if __name__ == "__main__":
    unittest.main()

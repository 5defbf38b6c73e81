"""Reading handlers for runs, jobs and workers."""

from __future__ import annotations

from urllib.parse import urlencode

from buildmaster.database import Database
from buildmaster.http.answers import Answer, document, listing
from buildmaster.http.call import Call
from buildmaster.http.problems import not_found
from buildmaster.kinds.details import Details
from buildmaster.store.documents.fragments import DEFAULT_LIMIT, LARGEST_LIMIT, Listing
from buildmaster.store.documents.jobs import JOB_STATES, JobFilter, job_document, job_list
from buildmaster.store.documents.runs import RUN_STATES, run_document, run_list
from buildmaster.store.documents.workers import worker_document, worker_list


class Lists:
    """What the farm has, page by page, and one by one."""

    def __init__(self, database: Database, details: Details) -> None:
        self._database = database
        self._details = details

    async def runs(self, call: Call) -> Answer:
        """GET /api/v1/runs"""
        query = call.query
        query.allow("limit", "before", "state")
        state = query.choice("state", RUN_STATES)
        limit = query.number("limit", highest=LARGEST_LIMIT) or DEFAULT_LIMIT
        page = await run_list(
            self._database, state=state, before=query.number("before"), limit=limit
        )
        return listing("runs", page, _following(call, page, "before"))

    async def run(self, call: Call) -> Answer:
        """GET /api/v1/runs/ID"""
        call.query.allow()
        text = await run_document(self._database, call.id("run"))
        if text is None:
            raise not_found(f"run {call.id('run')}")
        return document(text)

    async def jobs(self, call: Call) -> Answer:
        """GET /api/v1/jobs"""
        query = call.query
        query.allow("limit", "before", "state", "kind", "run")
        wanted = JobFilter(
            query.choice("state", JOB_STATES), query.text("kind"), query.number("run")
        )
        limit = query.number("limit", highest=LARGEST_LIMIT) or DEFAULT_LIMIT
        page = await job_list(
            self._database, wanted, before=query.number("before"), limit=limit
        )
        return listing("jobs", page, _following(call, page, "before"))

    async def job(self, call: Call) -> Answer:
        """GET /api/v1/jobs/ID"""
        call.query.allow()
        job = call.id("job")
        text = await job_document(self._database, job, await self._details.of(job))
        if text is None:
            raise not_found(f"job {call.id('job')}")
        return document(text)

    async def workers(self, call: Call) -> Answer:
        """GET /api/v1/workers"""
        query = call.query
        query.allow("limit", "after")
        page = await worker_list(
            self._database,
            after=query.text("after") or "",
            limit=query.number("limit", highest=LARGEST_LIMIT) or LARGEST_LIMIT,
        )
        return listing("workers", page, _following(call, page, "after"))

    async def worker(self, call: Call) -> Answer:
        """GET /api/v1/workers/NAME"""
        call.query.allow()
        text = await worker_document(self._database, call.parts["worker"])
        if text is None:
            raise not_found("worker of this name")
        return document(text)


def _following(call: Call, page: Listing, key: str) -> str | None:
    """The address of the next page: this one, with another place to begin."""
    if page.following is None:
        return None
    parameters = {**call.query.given, key: page.following}
    return f"{call.head.path}?{urlencode(parameters)}"

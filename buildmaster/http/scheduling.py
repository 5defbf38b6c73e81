"""Handlers for schedules: made, paused, removed."""

from __future__ import annotations

import msgspec

from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.http.changes import by, check_trust
from buildmaster.http.writing import Writing
from buildmaster.requests import GraphRequest, MadeRequest
from buildmaster.scheduling import NewSchedule, Planned, Schedules


class Calendar:
    """Carries the words; `Schedules` acts."""

    def __init__(self, schedules: Schedules) -> None:
        self._schedules = schedules

    async def add(self, call: Call) -> Answer:
        """POST /api/v1/schedules"""
        call.query.allow()
        asked = call.json(NewSchedule)
        jobs = asked.starts.jobs
        if asked.starts.run is not None and isinstance(
            asked.starts.run.source, MadeRequest
        ):
            jobs = GraphRequest(jobs=(asked.starts.run.source.by,))
        check_trust(call.grant, jobs)
        call.facts.update({"schedule": asked.name, "cron": asked.cron, "zone": asked.zone})
        told = await self._schedules.add(asked, by(call))
        return Answer(201, msgspec.json.encode(told))

    async def remove(self, call: Call) -> Answer:
        """POST /api/v1/schedules/NAME/remove"""
        call.query.allow()
        await self._schedules.remove(call.parts["schedule"])
        return Answer(200, msgspec.json.encode(Planned(name=call.parts["schedule"])))

    async def pause(self, call: Call) -> Answer:
        """POST /api/v1/schedules/NAME/pause"""
        return await self._pause(call, True)

    async def resume(self, call: Call) -> Answer:
        """POST /api/v1/schedules/NAME/resume"""
        return await self._pause(call, False)

    async def _pause(self, call: Call, paused: bool) -> Answer:
        call.query.allow()
        told = await self._schedules.pause(call.parts["schedule"], paused)
        return Answer(200, msgspec.json.encode(told))


WRITINGS = (
    Writing(
        "/api/v1/schedules",
        "add_schedule",
        "Begin something at times of a calendar.",
        NewSchedule,
        {201: Planned},
    ),
    *(
        Writing(
            f"/api/v1/schedules/{{schedule}}/{word}",
            f"{word}_schedule",
            summary,
            None,
            {200: Planned},
        )
        for word, summary in (
            ("remove", "Forget a schedule; what it started goes on."),
            ("pause", "Let the times of a schedule pass."),
            ("resume", "Go on with the first time of a schedule from now on."),
        )
    ),
)

"""Reading handlers that say why: of a job, and how good forecasts were."""

from __future__ import annotations

from urllib.parse import urlencode

import msgspec

from buildmaster.database import Database
from buildmaster.forecasting import Forecaster
from buildmaster.http.answers import Answer, document, listing
from buildmaster.http.call import Call
from buildmaster.http.problems import not_found
from buildmaster.store.documents.fragments import LARGEST_LIMIT
from buildmaster.store.forecasts import score_list


class Explaining:
    """Why a job waits, runs or ended."""

    def __init__(self, database: Database, forecaster: Forecaster) -> None:
        self._database = database
        self._forecaster = forecaster

    async def explain(self, call: Call) -> Answer:
        """GET /api/v1/jobs/ID/explain"""
        call.query.allow()
        told = await self._forecaster.explain(call.id("job"))
        if told is None:
            raise not_found(f"job {call.id('job')}")
        return document(msgspec.json.encode(told).decode())

    async def forecast(self, call: Call) -> Answer:
        """GET /api/v1/forecast"""
        call.query.allow("limit", "after")
        limit = call.query.number("limit", highest=LARGEST_LIMIT) or LARGEST_LIMIT
        after = call.query.number("after") or 0
        page = await score_list(self._database, after=after, limit=limit)
        following = page.following and (
            f"{call.head.path}?{urlencode({'limit': limit, 'after': page.following})}"
        )
        return listing("forecast", page, following)

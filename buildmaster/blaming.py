"""Acts on faults: quarantines workers, parks what met an outage, ends what is overdue."""

from __future__ import annotations

from twisted.logger import Logger

from buildmaster import ending, intervention
from buildmaster.blame import (
    BlameRules,
    Fault,
    Probe,
    ProbeStep,
    failure_of,
    judge,
    probe_delay,
    probe_step,
    resting_until,
)
from buildmaster.database import Cursor, Database
from buildmaster.ending import RetryPolicy
from buildmaster.requests import Refusal
from buildmaster.store import blaming as store
from buildmaster.store import operating
from buildmaster.store.blaming import Outage, Suspects
from buildmaster.store.event_log import Event, write_events
from buildmaster.store.step import AttemptEnd
from protocol.results import Result

#: Jobs whose limits of time one round looks at.
_OVERDUE = 200
_FARM = "the farm"


class Blaming:
    """One round looks at what failed of late; masters take turns."""

    log = Logger()

    def __init__(
        self, database: Database, policy: RetryPolicy, rules: BlameRules | None = None
    ) -> None:
        self._database = database
        self._policy = policy
        self._rules = rules or BlameRules()

    async def round(self) -> None:
        """Judge, act, and end what is overdue."""
        ended = await self._database.transaction(self._judge)
        for outage, job in ended:
            await self._revive(outage, job)
        await self._database.transaction(self._probe)
        await self._database.transaction(self._end_overdue)

    # Workers, and what is outside

    async def _judge(self, cursor: Cursor) -> list[tuple[int, int]]:
        """Act on faults; (outage, job) of jobs that an outage ended for good."""
        seen = await store.suspects(cursor, self._rules.window)
        if seen is None:
            return []
        await self._trust_again(cursor)
        blame = judge(
            [known.fault for known in seen.faults],
            seen.now,
            working=seen.working,
            quarantined=seen.quarantined,
            known_outages=[each.failure for each in seen.outages if not each.is_over],
            rules=self._rules,
        )
        for worker, why in sorted(blame.quarantine.items()):
            if await store.quarantine(cursor, worker, why):
                self.log.warn("worker {w} is in quarantine: {why}", w=worker, why=why)
                note = {"why": why, "by": _FARM}
                event = Event("worker.quarantined", worker=worker, payload=note)
                await write_events(cursor, [event])
        await self._let_rest(cursor, seen)
        ended: list[tuple[int, int]] = []
        for failure, faults in sorted(blame.outages.items()):
            ended += await self._park(cursor, seen, failure, faults)
        return ended

    async def _trust_again(self, cursor: Cursor) -> None:
        for worker in await store.end_quarantines(cursor):
            self.log.info("worker {w} is out of quarantine: a job passed", w=worker)
            note = {"why": "a job passed there", "by": _FARM}
            await write_events(
                cursor, [Event("worker.trusted", worker=worker, payload=note)]
            )
            await operating.wake_dispatchers(cursor)

    async def _let_rest(self, cursor: Cursor, seen: Suspects) -> None:
        faults = [known.fault for known in seen.faults]
        for worker, since in seen.quarantined.items():
            until = resting_until(since, faults, worker, self._rules)
            if until is not None and until > seen.now:
                await store.rest(cursor, worker, until)

    async def _park(
        self, cursor: Cursor, seen: Suspects, failure: str, faults: tuple[Fault, ...]
    ) -> list[tuple[int, int]]:
        known = {each.failure for each in seen.outages if not each.is_over}
        reason = faults[0].reason
        outage = await store.open_outage(
            cursor, failure, reason[:1000], probe_delay(0, self._rules)
        )
        if failure not in known:
            self.log.warn("outage {outage}: {reason}", outage=outage, reason=reason)
            note = {"outage": outage, "why": reason, "jobs": len({f.job for f in faults})}
            await write_events(cursor, [Event("outage.began", payload=note)])
        of_it = [each for each in seen.faults if each.fault in faults][: store.BATCH]
        attempts = [(each.fault.job, each.attempt) for each in of_it]
        ended = await store.ended_by(cursor, attempts)
        await store.park(cursor, outage, sorted({job for job, _ in attempts} - set(ended)))
        return [(outage, job) for job in ended]

    async def _revive(self, outage: int, job: int) -> None:
        """Give a job another attempt that an outage has ended, and park it."""

        async def work(cursor: Cursor) -> None:
            await intervention.retry_job(cursor, job, _FARM)
            await store.park(cursor, outage, [job])

        try:
            await self._database.transaction(work)
        except Refusal as refusal:  # Somebody was faster.
            self.log.info("job {job} stays as it is: {why}", job=job, why=str(refusal))

    # Outages

    async def _probe(self, cursor: Cursor) -> None:
        seen = await store.suspects(cursor, self._rules.window)
        if seen is None:
            return
        for outage in seen.outages:
            if outage.is_over:
                await store.let_outage_go(cursor, outage.id)
                continue
            match probe_step(
                seen.now, outage.next_at, await self._probe_of(cursor, outage)
            ):
                case ProbeStep.PROBE:
                    if await store.send_probe(cursor, outage.id) is None:
                        await self._over(cursor, seen, outage, "none of its jobs is left")
                case ProbeStep.AGAIN:
                    delay = probe_delay(outage.probes + 1, self._rules)
                    await store.probe_later(cursor, outage.id, delay)
                case ProbeStep.LET_GO:
                    await self._over(cursor, seen, outage, f"job {outage.probe} passed")

    async def _probe_of(self, cursor: Cursor, outage: Outage) -> Probe | None:
        if outage.probe is None or outage.probe_attempt is None:
            return None
        row = await store.probe_of(cursor, outage.probe, outage.probe_attempt)
        if row is None:
            return Probe(has_ended=True, met_it=False, tells=False)
        met_it = failure_of(row.reason, row.worker) == outage.failure
        return Probe(
            has_ended=row.result is not None,
            met_it=row.result == "error" and met_it,
            tells=row.result in ("success", "failure"),
        )

    async def _over(self, cursor: Cursor, seen: Suspects, outage: Outage, why: str) -> None:
        of_it = [each.id for each in seen.faults if each.fault.failure == outage.failure]
        await store.end_outage(cursor, outage.id, of_it)
        self.log.info("outage {outage} is over: {why}", outage=outage.id, why=why)
        note = {"outage": outage.id, "why": why}
        await write_events(cursor, [Event("outage.over", payload=note)])
        await store.let_outage_go(cursor, outage.id)

    # Limits of time

    async def _end_overdue(self, cursor: Cursor) -> None:
        for late in await store.end_overdue(cursor, _OVERDUE):
            # Its worker hears of it with the next sign of life.
            end = AttemptEnd(late.job, late.attempt, Result.TIMEOUT, late.why)
            await ending.end_attempt(cursor, end, self._policy)

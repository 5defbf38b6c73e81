"""The front desk: decides who may enter, where a body goes, and who answers."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from twisted.internet.defer import CancelledError
from twisted.internet.interfaces import IReactorTime
from twisted.logger import Logger

from buildmaster.acts import Act, Acts
from buildmaster.database import DatabaseAway, StatementCancelled
from buildmaster.feed import FeedStopped, TooManyFollowers
from buildmaster.grants import Grant
from buildmaster.http.acts import ACTS, NOTED_THERE
from buildmaster.http.answers import Answer, problem
from buildmaster.http.call import BODY_LIMIT, Call, Head, Sink
from buildmaster.http.guard import Guard
from buildmaster.http.problems import Problem, bad_request, refused
from buildmaster.http.projects import Projects
from buildmaster.http.queries import Query
from buildmaster.http.routing import Handler, Route, Routes
from buildmaster.http.scopes import NEEDS, Need, limits, permit
from buildmaster.requests import Refusal
from buildmaster.status.problems import StatusProblem
from buildmaster.store.events import BadEventId

#: Makes the sink of an upload from its call, or raises `Problem`.
OpenUpload = Callable[[Call], Sink]

_WRITES = frozenset({"POST", "PUT", "PATCH", "DELETE"})
_JSON, _FORM = "application/json", "application/x-www-form-urlencoded"
#: Where browsers send forms, which work without scripts.
FORMS = {"/login": _FORM, "/logout": _FORM}


class Visit:
    """A request that was let in, while its body arrives, and what will answer it."""

    def __init__(
        self,
        call: Call,
        handler: Handler,
        limit: int,
        path: str = "",
        need: Need = Need.NOTHING,
    ) -> None:
        self.call = call
        self.path = path
        self.need = need
        self.handler = handler
        self._limit = limit  # bytes of the body
        self._taken = 0

    def take(self, data: bytes) -> None:
        """A piece of the body; `Problem` if it is too much."""
        self._taken += len(data)
        if self._taken > self._limit:
            raise too_large(self._limit)
        self.call.body.write(data)

    def abort(self) -> None:
        """Forget the body, unless it was used."""
        self.call.body.abort()


class Front:
    """Everything between the wire and the handlers."""

    log = Logger()

    def __init__(
        self,
        guard: Guard,
        routes: Routes,
        uploads: Mapping[str, OpenUpload],
        upload_limit: int,
        clock: IReactorTime,
        projects: Projects,
        acts: Acts,
        open_reading: bool = True,
        wrote: Callable[[], None] = lambda: None,
    ) -> None:
        """``uploads`` are the paths, as in the routes, whose PUT brings a file.

        With ``open_reading`` nobody needs a token to read. ``wrote`` is called when
        something may have changed, before anybody is told so.
        """
        self._wrote = wrote
        self.clock = clock
        self._projects = projects
        self._acts = acts
        self._open_reading = open_reading
        self._guard = guard
        self._routes = routes
        self._uploads = uploads
        self._upload_limit = upload_limit

    def enter(self, head: Head) -> Visit:
        """Let a request in when its headers are there, or raise `Problem`."""
        grant = self._guard.check(head.method, head.headers, head.address)
        peer = head.address
        head = replace(head, address=self._guard.address(head.headers, peer))
        route, parts = self._routes.find(head.path)
        if head.method == "OPTIONS":
            return Visit(Call(head, Query(""), grant, parts), _options(route), 0)
        handler = self._routes.handler(route, head.method)
        method = "GET" if head.method == "HEAD" else head.method
        need = NEEDS[method, route.path]
        permit(need, grant, open_reading=self._open_reading)

        def recheck() -> None:
            found = self._guard.check(head.method, head.headers, peer)
            permit(need, found, open_reading=self._open_reading)
            if _rights(found) != _rights(grant):
                raise Problem(
                    401, "rights_changed", "whoever began this may do other things by now"
                )

        within = limits(need, grant, open_reading=self._open_reading)
        call = Call(head, Query(head.query), grant, parts, within=within, recheck=recheck)
        open_upload = self._uploads.get(route.path) if head.method == "PUT" else None
        if open_upload is not None:
            if head.length is None:
                raise Problem(411, "length_required", "a file is sent with Content-Length")
            if head.length > self._upload_limit:
                raise too_large(self._upload_limit)
            sink = open_upload(call)
            return Visit(replace(call, body=sink), handler, head.length, route.path, need)
        if head.method in _WRITES:
            _check_type(head, FORMS.get(route.path, _JSON))
        if (head.length or 0) > BODY_LIMIT:
            raise too_large(BODY_LIMIT)
        return Visit(call, handler, BODY_LIMIT, route.path, need)

    async def answer(self, visit: Visit) -> Answer:
        """What goes back; a defect is logged and told as 500.

        What changes something is noted in the audit before, or it is not done.
        """
        try:
            act = await self._begin(visit)
        except (DatabaseAway, StatementCancelled) as error:
            return problem(_later("not_now", str(error)))
        answer = await self._told(visit)
        if act is not None:
            facts = visit.call.facts
            outcome = facts.pop("outcome", None) or answer.code or "done"
            await self._acts.complete(act, outcome, answer.status, facts)
        return answer

    async def _begin(self, visit: Visit) -> Act | None:
        call, grant = visit.call, visit.call.grant
        name = ACTS.get((call.head.method, visit.path))
        # Files of attempts and among masters are no acts of anybody.
        if name is None or grant is None or visit.path in NOTED_THERE:
            return None
        if grant.attempt is not None or grant.file is not None:
            return None
        parts = call.parts
        for more in ("semaphore", "token", "rule", "sha256", "workflow", "schedule"):
            if more in parts:
                call.facts[more] = parts[more]
        return await self._acts.begin(
            name,
            grant.who,
            call.head.address,
            run=int(parts["run"]) if "run" in parts else None,
            job=int(parts["job"]) if "job" in parts else None,
            worker=parts.get("worker"),
        )

    async def _told(self, visit: Visit) -> Answer:
        try:
            if not (self._open_reading and visit.need in (Need.READ, Need.FETCH)):
                await self._projects.check(visit.path, visit.need, visit.call)
            try:
                return await visit.handler(visit.call)
            finally:
                if visit.call.head.method in _WRITES:
                    self._wrote()
        except Problem as told:
            return problem(told)
        except Refusal as refusal:
            return problem(refused(refusal))
        except StatusProblem as told:
            later = {"Retry-After": "2"} if told.status == 503 else None
            return problem(Problem(told.status, told.code, told.detail, headers=later))
        except BadEventId as error:
            return problem(bad_request("bad_event_id", str(error)))
        except (DatabaseAway, FeedStopped, TooManyFollowers) as error:
            return problem(_later("not_now", str(error)))
        except StatementCancelled:
            return problem(
                _later(
                    "too_slow",
                    "the database took too long over this; ask for less, or later",
                )
            )
        except CancelledError:
            raise
        except Exception:
            self.log.failure("could not answer {path}", path=visit.call.head.path)
            return problem(
                Problem(500, "defect", "the farm made a mistake; its log tells more")
            )


def too_large(limit: int) -> Problem:
    """The body is larger than may be."""
    return Problem(413, "too_large", f"a body here has {limit} bytes at most")


def _later(code: str, detail: str) -> Problem:
    return Problem(503, code, detail, headers={"Retry-After": "2"})


def _rights(grant: Grant | None) -> object:
    """What must stay the same while an answer goes on."""
    return None if grant is None else (grant.who, frozenset(grant.rights))


def _check_type(head: Head, wanted: str) -> None:
    kind = (head.header("Content-Type") or "").partition(";")[0].strip().lower()
    if head.length != 0 and kind != wanted:
        word, name = ("not_json", "JSON") if wanted == _JSON else ("not_a_form", "a form")
        raise Problem(415, word, f"the body here is {name}: Content-Type: {wanted}")


def _options(route: Route) -> Handler:
    async def allow(call: Call) -> Answer:
        return Answer(204, headers={"Allow": ", ".join(route.allowed)})

    return allow

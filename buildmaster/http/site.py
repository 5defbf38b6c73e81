"""The farm's HTTP site, put together: every address and what answers it."""

from __future__ import annotations

from collections.abc import Collection
from datetime import UTC, datetime

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import Site

from buildmaster.acts import Acts
from buildmaster.admission import Admission
from buildmaster.blobs import BlobStore
from buildmaster.classifying import Classifying
from buildmaster.clients import Clients
from buildmaster.database import Database
from buildmaster.feed import EventFeed
from buildmaster.forecasting import Forecaster
from buildmaster.http.access_log import AccessLog
from buildmaster.http.admission import Doors
from buildmaster.http.artifacts import Artifacts
from buildmaster.http.books import Books
from buildmaster.http.call import Head
from buildmaster.http.changes import Changes
from buildmaster.http.classifying import Judging
from buildmaster.http.following import Live
from buildmaster.http.front import Front
from buildmaster.http.guard import Guard
from buildmaster.http.health import Health
from buildmaster.http.keys import KeyQuestions
from buildmaster.http.limits import Limits
from buildmaster.http.lines import Lines
from buildmaster.http.login import Logins
from buildmaster.http.logs import Logs
from buildmaster.http.looking_into import LookingInto
from buildmaster.http.me import WhoAmI
from buildmaster.http.oidc import CALLBACK, OidcLogins
from buildmaster.http.openapi import PATH as OPENAPI
from buildmaster.http.openapi import OpenApi
from buildmaster.http.operations import Operating
from buildmaster.http.outside import Outside
from buildmaster.http.pages import Pages
from buildmaster.http.projects import Projects
from buildmaster.http.prometheus import Meters, Prometheus, Requests
from buildmaster.http.request import FarmRequest
from buildmaster.http.routing import Route, Routes
from buildmaster.http.scheduling import Calendar
from buildmaster.http.scopes import ARTIFACT
from buildmaster.http.sockets import Sockets
from buildmaster.http.status import StatusHandlers
from buildmaster.http.workflows import Orchestrating
from buildmaster.interrupted import Interrupted
from buildmaster.kinds.details import Details
from buildmaster.kinds.registry import Kinds
from buildmaster.knocks import Knocks, network_of
from buildmaster.neighbours import Elsewhere
from buildmaster.operations import Operations
from buildmaster.orchestration.classes import WorkflowClasses
from buildmaster.orchestration.control import Control
from buildmaster.orchestration.running import step_threads
from buildmaster.orchestration.webhooks import Webhooks
from buildmaster.people.entrance import Entrance
from buildmaster.people.errand import Errands
from buildmaster.people.provider import Provider
from buildmaster.requests import Farm
from buildmaster.scheduling import Schedules
from buildmaster.status.lane import Lane
from buildmaster.status.reading import Status
from buildmaster.status.remembering import Remembering
from buildmaster.status.sharing import Sharing
from buildmaster.tokens import Tokens
from protocol import websocket

#: Bytes of one artifact.
UPLOAD_LIMIT = 4 * 1024**3
#: Seconds that a connection may be silent while nothing is asked or answered.
_IDLE = 60.0


class FarmSite(Site):
    """A twisted.web site whose requests go to a `Front`."""

    def __init__(
        self,
        front: Front,
        clock: IReactorTime,
        requests: Requests,
        access_log: AccessLog | None,
    ) -> None:
        super().__init__(
            Resource(), requestFactory=FarmRequest, timeout=_IDLE, reactor=clock
        )
        self.front = front
        self._requests = requests
        self._access_log = access_log

    def log(self, request: object) -> None:
        """Nothing: requests say themselves what they were (`note`)."""

    def note(self, head: Head, who: str, status: int, size: int, seconds: float) -> None:
        """An answer went out."""
        self._requests.note(head.method, status, seconds)
        if self._access_log is not None:
            self._access_log.note(
                at=datetime.now(UTC).strftime("%Y-%m-%dT%H:%M:%S.%fZ"),
                address=head.address,
                who=who,
                method=head.method,
                path=head.path,
                status=status,
                size=size,
                seconds=seconds,
            )


def site(
    database: Database,
    feed: EventFeed,
    farm: Farm,
    blobs: BlobStore,
    tokens: Tokens,
    clock: IReactorTime,
    hosts: Collection[str] = (),
    *,
    master: str = "headrace",
    upload_limit: int = UPLOAD_LIMIT,
    workers: websocket.Listener | None = None,
    admission: Admission | None = None,
    clients: Clients | None = None,
    forecaster: Forecaster | None = None,
    status: Status | None = None,
    operations: Operations | None = None,
    open_reading: bool = True,
    access_log: AccessLog | None = None,
    scheme: str = "http",
    kinds: Kinds | None = None,
    elsewhere: Elsewhere | None = None,
    project_quota: int | None = None,
    acts: Acts | None = None,
    entrance: Entrance | None = None,
    provider: Provider | None = None,
    public_url: str | None = None,
    meters: Meters | None = None,
    control: Control | None = None,
    webhooks: Webhooks | None = None,
) -> FarmSite:
    """The site, to be listened with.

    ``database`` should be a pool of the readers' own, with a statement timeout, so that
    nothing that is read holds up dispatch. ``hosts`` are the names and addresses by
    which the farm is reached, besides those of loopback; ``master`` is shown by
    /healthz; ``upload_limit`` is the most bytes that an artifact has; ``workers`` takes
    the connections of workers that come over WebSocket; ``clients`` may ask besides
    those who have the farm's own token; with ``open_reading`` nobody needs one to read;
    ``kinds`` may have something to add to the documents of their jobs; ``elsewhere`` is
    asked for files that are not among ``blobs``; ``project_quota`` is the most bytes that
    the files take which builds of one repository made; ``status`` is what everything that
    is read comes from; ``access_log`` hears of every answer; ``scheme`` is how pages are
    reached; ``acts`` keeps what was changed, and by whom; ``entrance`` knows people, where
    they may come without a token, and ``provider`` those who come from elsewhere, back to
    ``public_url``; ``meters`` are what /metrics tells of this master; ``control`` acts on
    workflows, and ``webhooks`` makes signals of messages.
    """
    artifacts = Artifacts(database, blobs, Interrupted(clock), elsewhere, project_quota)
    clients = clients or Clients(database)
    operations = operations or Operations(database)
    status = status or Status(
        database,
        Details(database, kinds or Kinds()),
        forecaster or Forecaster(database, clock),
        feed,
    )
    meters = meters or Meters(pools={"readers": database})
    threads = step_threads(clock)
    control = control or Control(database, WorkflowClasses(), threads)
    webhooks = webhooks or Webhooks(control, threads, {})
    shared = Sharing(Lane(status, clock), clock)
    memory = Remembering(shared, feed, clock)
    acts = acts or Acts(database)
    logins = Logins(entrance, acts, label=None if provider is None else provider.label)
    routes = _routes(
        StatusHandlers(shared, memory, Live(shared, Sockets(clock))),
        Logs(database, feed),
        Changes(database, farm),
        artifacts,
        Health(database, master, clock),
        Prometheus(database, memory, feed, meters, clock),
        Outside(database, scheme),
        Pages(),
        Lines(workers),
        Doors(database, admission or Admission(database), clients),
        Books(database),
        Limits(database),
        Operating(database, operations),
        LookingInto(database, operations),
        logins,
        OidcLogins(
            entrance,
            provider,
            Errands(tokens.attempt_secret),
            acts,
            Knocks(key=network_of, what="log in"),
            public_url,
        ),
        WhoAmI(logins.doors, open_reading=open_reading),
        Judging(database, Classifying(database)),
        Orchestrating(control, webhooks),
        Calendar(Schedules(database, control)),
        KeyQuestions(status),
    )
    front = Front(
        Guard(hosts, tokens, clients, entrance),
        routes,
        {ARTIFACT: artifacts.open},
        upload_limit,
        clock,
        Projects(database),
        acts,
        open_reading,
        # Who changed something finds it changed, also before the database tells of it.
        memory.forget,
    )
    return FarmSite(front, clock, meters.requests, access_log)


def _routes(
    status: StatusHandlers,
    logs: Logs,
    changes: Changes,
    artifacts: Artifacts,
    health: Health,
    prometheus: Prometheus,
    outside: Outside,
    pages: Pages,
    lines: Lines,
    doors: Doors,
    books: Books,
    limits: Limits,
    operating: Operating,
    looking: LookingInto,
    logins: Logins,
    oidc: OidcLogins,
    who: WhoAmI,
    judging: Judging,
    orchestrating: Orchestrating,
    calendar: Calendar,
    keys: KeyQuestions,
) -> Routes:
    return Routes(
        Route("/", {"GET": pages.index}),
        Route("/page/{file}", {"GET": pages.file}),
        Route("/page/{folder}/{file}", {"GET": pages.file}),
        Route("/login", {"GET": logins.page, "POST": logins.log_in}),
        Route("/login/oidc", {"GET": oidc.leave}),
        Route(CALLBACK, {"GET": oidc.come_back}),
        Route("/logout", {"POST": logins.log_out}),
        Route("/healthz", {"GET": health.get}),
        Route("/metrics", {"GET": prometheus.get}),
        Route("/cctray.xml", {"GET": outside.cctray}),
        Route("/badge.svg", {"GET": outside.badge}),
        Route(websocket.PATH, {"GET": lines.get}),
        Route(OPENAPI, {"GET": OpenApi().get}),
        Route("/api/v1/me", {"GET": who.get}),
        Route("/api/v1/overview", {"GET": status["overview"]}),
        Route("/api/v1/runs", {"GET": status["runs"], "POST": changes.submit}),
        Route("/api/v1/runs/{run}", {"GET": status["run"]}),
        Route("/api/v1/runs/{run}/cancel", {"POST": changes.cancel_run}),
        Route("/api/v1/runs/{run}/rerun", {"POST": changes.rerun}),
        Route("/api/v1/jobs/{job}/release", {"POST": changes.release}),
        Route("/api/v1/jobs", {"GET": status["jobs"], "POST": changes.enqueue}),
        Route("/api/v1/jobs/{job}", {"GET": status["job"]}),
        Route("/api/v1/jobs/{job}/log", {"GET": logs.get}),
        Route("/api/v1/jobs/{job}/explain", {"GET": status["explain"]}),
        Route("/api/v1/jobs/{job}/order", {"GET": looking.order}),
        Route("/api/v1/jobs/{job}/shell", {"POST": looking.shell}),
        Route("/api/v1/jobs/{job}/classify", {"POST": judging.say}),
        Route(
            "/api/v1/workflows",
            {"GET": status["workflows"], "POST": orchestrating.start},
        ),
        Route("/api/v1/workflows/{workflow}", {"GET": status["workflow"]}),
        Route("/api/v1/workflows/{workflow}/history", {"GET": status["workflow_history"]}),
        Route("/api/v1/workflows/{workflow}/export", {"GET": orchestrating.export}),
        Route("/api/v1/workflows/{workflow}/signal", {"POST": orchestrating.signal}),
        Route("/api/v1/workflows/{workflow}/query", {"POST": orchestrating.query}),
        Route("/api/v1/workflows/{workflow}/cancel", {"POST": orchestrating.cancel}),
        Route("/api/v1/hooks/{hook}", {"POST": orchestrating.hook}),
        Route("/api/v1/schedules", {"GET": status["schedules"], "POST": calendar.add}),
        Route("/api/v1/schedules/{schedule}/remove", {"POST": calendar.remove}),
        Route("/api/v1/schedules/{schedule}/pause", {"POST": calendar.pause}),
        Route("/api/v1/schedules/{schedule}/resume", {"POST": calendar.resume}),
        Route("/api/v1/rules", {"GET": status["rules"], "POST": judging.add}),
        Route("/api/v1/rules/try", {"POST": judging.attempt}),
        Route("/api/v1/rules/{rule}/remove", {"POST": judging.remove}),
        Route("/api/v1/forecast", {"GET": status["forecast"]}),
        Route("/api/v1/jobs/{job}/cancel", {"POST": changes.cancel_job}),
        Route("/api/v1/jobs/{job}/retry", {"POST": changes.retry}),
        Route("/api/v1/jobs/{job}/move", {"POST": operating.move}),
        Route("/api/v1/jobs/{job}/rescore", {"POST": operating.rescore}),
        Route("/api/v1/bulk", {"POST": operating.bulk}),
        Route("/api/v1/duty", {"POST": operating.duty}),
        Route("/api/v1/holds", {"GET": status["holds"], "POST": operating.hold}),
        Route("/api/v1/holds/release", {"POST": operating.release}),
        Route("/api/v1/workers", {"GET": status["workers"], "POST": doors.add_worker}),
        Route("/api/v1/workers/{worker}", {"GET": status["worker"]}),
        Route("/api/v1/workers/{worker}/rotate", {"POST": doors.rotate_worker}),
        Route("/api/v1/workers/{worker}/revoke", {"POST": doors.revoke_worker}),
        Route("/api/v1/semaphores", {"GET": status["semaphores"], "POST": limits.set}),
        Route("/api/v1/semaphores/{semaphore}/remove", {"POST": limits.remove}),
        Route("/api/v1/caps", {"POST": limits.cap}),
        Route("/api/v1/tokens", {"GET": status["tokens"], "POST": doors.add_token}),
        Route("/api/v1/tokens/{token}/revoke", {"POST": doors.revoke_token}),
        Route("/api/v1/grid", {"GET": status["grid"]}),
        Route("/api/v1/runs/{run}/graph", {"GET": status["graph"]}),
        Route("/api/v1/jobs/{job}/whole", {"GET": status["build"]}),
        Route("/api/v1/queue", {"GET": status["queue"]}),
        Route("/api/v1/timeline", {"GET": status["timeline"]}),
        Route("/api/v1/history", {"GET": status["history"]}),
        Route("/api/v1/events", {"GET": status["events"]}),
        Route("/api/v1/keys", {"POST": keys.ask}),
        Route("/api/v1/books", {"GET": books.get}),
        Route("/api/v1/audit", {"GET": status["audit"]}),
        Route("/api/v1/stays", {"GET": status["stays"]}),
        Route("/api/v1/stays/end", {"POST": logins.end_all_of}),
        Route(ARTIFACT, {"GET": artifacts.get, "PUT": artifacts.put}),
    )

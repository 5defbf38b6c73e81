"""The farm's HTTP site, put together: every address and what answers it."""

from __future__ import annotations

from collections.abc import Collection

from twisted.internet.interfaces import IReactorTime
from twisted.web.resource import Resource
from twisted.web.server import Site

from buildmaster.admission import Admission
from buildmaster.blobs import BlobStore
from buildmaster.clients import Clients
from buildmaster.database import Database
from buildmaster.feed import EventFeed
from buildmaster.forecasting import Forecaster
from buildmaster.http.admission import Doors
from buildmaster.http.artifacts import Artifacts
from buildmaster.http.audit import Audit
from buildmaster.http.changes import Changes
from buildmaster.http.events import Events
from buildmaster.http.explaining import Explaining
from buildmaster.http.front import Front
from buildmaster.http.guard import Guard
from buildmaster.http.health import Health
from buildmaster.http.limits import Limits
from buildmaster.http.lines import Lines
from buildmaster.http.lists import Lists
from buildmaster.http.logs import Logs
from buildmaster.http.looking_into import LookingInto
from buildmaster.http.operations import Operating
from buildmaster.http.pages import Pages
from buildmaster.http.projects import Projects
from buildmaster.http.request import FarmRequest
from buildmaster.http.routing import Route, Routes
from buildmaster.http.scopes import ARTIFACT
from buildmaster.interrupted import Interrupted
from buildmaster.kinds.details import Details
from buildmaster.kinds.registry import Kinds
from buildmaster.neighbours import Elsewhere
from buildmaster.operations import Operations
from buildmaster.requests import Farm
from buildmaster.tokens import Tokens
from protocol import websocket

#: Bytes of one artifact.
UPLOAD_LIMIT = 4 * 1024**3
#: Seconds that a connection may be silent while nothing is asked or answered.
_IDLE = 60.0


class FarmSite(Site):
    """A twisted.web site whose requests go to a `Front`."""

    def __init__(self, front: Front, clock: IReactorTime) -> None:
        super().__init__(
            Resource(), requestFactory=FarmRequest, timeout=_IDLE, reactor=clock
        )
        self.front = front

    def log(self, request: object) -> None:
        """Nothing: what matters is in the events, and requests would drown the log."""


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
    operations: Operations | None = None,
    open_reading: bool = True,
    kinds: Kinds | None = None,
    elsewhere: Elsewhere | None = None,
) -> FarmSite:
    """The site, to be listened with.

    ``database`` should be a pool of the readers' own, with a statement timeout, so that
    nothing that is read holds up dispatch. ``hosts`` are the names and addresses by
    which the farm is reached, besides those of loopback; ``master`` is shown by
    /healthz; ``upload_limit`` is the most bytes that an artifact has; ``workers`` takes
    the connections of workers that come over WebSocket; ``clients`` may ask besides
    those who have the farm's own token; with ``open_reading`` nobody needs one to read;
    ``kinds`` may have something to add to the documents of their jobs; ``elsewhere`` is
    asked for files that are not among ``blobs``.
    """
    artifacts = Artifacts(database, blobs, Interrupted(clock), elsewhere)
    clients = clients or Clients(database)
    operations = operations or Operations(database)
    routes = _routes(
        Lists(database, Details(database, kinds or Kinds())),
        Logs(database, feed),
        Events(database, feed),
        Changes(database, farm),
        artifacts,
        Health(database, master, clock),
        Pages(),
        Lines(workers),
        Doors(database, admission or Admission(database), clients),
        Audit(database),
        Limits(database),
        Explaining(database, forecaster or Forecaster(database, clock)),
        Operating(database, operations),
        LookingInto(database, operations),
    )
    front = Front(
        Guard(hosts, tokens, clients),
        routes,
        {ARTIFACT: artifacts.open},
        upload_limit,
        clock,
        Projects(database),
        open_reading,
    )
    return FarmSite(front, clock)


def _routes(
    lists: Lists,
    logs: Logs,
    events: Events,
    changes: Changes,
    artifacts: Artifacts,
    health: Health,
    pages: Pages,
    lines: Lines,
    doors: Doors,
    audit: Audit,
    limits: Limits,
    explaining: Explaining,
    operating: Operating,
    looking: LookingInto,
) -> Routes:
    return Routes(
        Route("/", {"GET": pages.index}),
        Route("/page/{file}", {"GET": pages.file}),
        Route("/healthz", {"GET": health.get}),
        Route(websocket.PATH, {"GET": lines.get}),
        Route("/api/v1/runs", {"GET": lists.runs, "POST": changes.submit}),
        Route("/api/v1/runs/{run}", {"GET": lists.run}),
        Route("/api/v1/runs/{run}/cancel", {"POST": changes.cancel_run}),
        Route("/api/v1/jobs", {"GET": lists.jobs, "POST": changes.enqueue}),
        Route("/api/v1/jobs/{job}", {"GET": lists.job}),
        Route("/api/v1/jobs/{job}/log", {"GET": logs.get}),
        Route("/api/v1/jobs/{job}/explain", {"GET": explaining.explain}),
        Route("/api/v1/jobs/{job}/order", {"GET": looking.order}),
        Route("/api/v1/jobs/{job}/shell", {"POST": looking.shell}),
        Route("/api/v1/forecast", {"GET": explaining.forecast}),
        Route("/api/v1/jobs/{job}/cancel", {"POST": changes.cancel_job}),
        Route("/api/v1/jobs/{job}/retry", {"POST": changes.retry}),
        Route("/api/v1/jobs/{job}/move", {"POST": operating.move}),
        Route("/api/v1/jobs/{job}/rescore", {"POST": operating.rescore}),
        Route("/api/v1/bulk", {"POST": operating.bulk}),
        Route("/api/v1/duty", {"POST": operating.duty}),
        Route("/api/v1/holds", {"GET": operating.holds, "POST": operating.hold}),
        Route("/api/v1/holds/release", {"POST": operating.release}),
        Route("/api/v1/workers", {"GET": lists.workers, "POST": doors.add_worker}),
        Route("/api/v1/workers/{worker}", {"GET": lists.worker}),
        Route("/api/v1/workers/{worker}/rotate", {"POST": doors.rotate_worker}),
        Route("/api/v1/workers/{worker}/revoke", {"POST": doors.revoke_worker}),
        Route("/api/v1/semaphores", {"GET": limits.list, "POST": limits.set}),
        Route("/api/v1/semaphores/{semaphore}/remove", {"POST": limits.remove}),
        Route("/api/v1/caps", {"POST": limits.cap}),
        Route("/api/v1/tokens", {"GET": doors.tokens, "POST": doors.add_token}),
        Route("/api/v1/tokens/{token}/revoke", {"POST": doors.revoke_token}),
        Route("/api/v1/events", {"GET": events.get}),
        Route("/api/v1/audit", {"GET": audit.get}),
        Route(ARTIFACT, {"GET": artifacts.get, "PUT": artifacts.put}),
    )

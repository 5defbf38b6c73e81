"""The composition root of the buildmaster. Read `Master` to see the daemon."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.internet.error import CannotListenError
from twisted.internet.threads import deferToThread
from twisted.logger import Logger
from twisted.python import usage
from twisted.python.failure import Failure

from buildmaster import durability
from buildmaster.acts import Acts
from buildmaster.addresses import Addresses, endpoint, reached_at
from buildmaster.admission import Admission, settled_workers
from buildmaster.bearers import Bearers
from buildmaster.blobs import BlobStore
from buildmaster.clients import Clients
from buildmaster.config import EMBEDDED, ConfigError, MasterConfig, read_config
from buildmaster.database import Database, HeldByAnother, Hold
from buildmaster.dispatching import Dispatching, Place
from buildmaster.farm import LiveFarm
from buildmaster.feed import EventFeed
from buildmaster.forecasting import Forecaster
from buildmaster.http.access_log import AccessLog
from buildmaster.http.prometheus import Meters
from buildmaster.http.site import site
from buildmaster.kinds.details import Details
from buildmaster.kinds.installation import install
from buildmaster.kinds.registry import BadKind, Kinds
from buildmaster.masters import KIND, forget_sessions
from buildmaster.neighbours import Neighbours
from buildmaster.operations import Operations
from buildmaster.orchestration.classes import WorkflowClasses
from buildmaster.orchestration.control import Control
from buildmaster.orchestration.running import Running, step_threads
from buildmaster.orchestration.webhooks import BadSecret, Webhooks, secrets
from buildmaster.people.entrance import Entrance
from buildmaster.people.opening import open_entrance, open_provider
from buildmaster.people.watched import BadFile
from buildmaster.pidfile import PidFile
from buildmaster.postgres.embedded import EmbeddedPostgres
from buildmaster.requests import Requirements
from buildmaster.rounds import Rounds
from buildmaster.scheduling import Scheduler
from buildmaster.series import DEFAULT_SERIES
from buildmaster.session import Session
from buildmaster.source.reader import GitReader
from buildmaster.status import pb_server
from buildmaster.status.permission import Permission
from buildmaster.status.reading import Status
from buildmaster.store.masters import Neighbour, announce
from buildmaster.store.tokens import CHANNEL as TOKEN_CHANNEL
from buildmaster.store.tokens import attempt_secret
from buildmaster.submission import SubmissionRules
from buildmaster.tokens import Tokens, token_hash
from protocol import websocket
from protocol.steady import make_steady
from protocol.tls import fingerprint_in, listener_options
from protocol.trust import BadCertificate
from schema.migrate import migrate

#: Seconds that a statement of those who only read may take.
READERS_PATIENCE = 10.0
#: Seconds for which one of the same name may still have the database's attention.
NAME_PATIENCE = 10.0


class Options(usage.Options):
    """Command line of ``twistd buildmaster``."""

    optParameters = [["config", "c", "master.yaml", "The settings file."]]  # noqa: N815


def makeService(options: Options) -> Service:
    """A buildmaster with the settings that ``options`` name."""
    from twisted.internet import reactor

    make_steady(reactor)
    try:
        path = Path(options["config"]).absolute()
        return Master(read_config(path), reactor, path)
    except ConfigError as error:
        raise SystemExit(f"buildmaster: {error}") from error


class NotYet(Exception):
    """A worker came before there was anything for it to come to; it comes again."""


class Master(Service):
    """The daemon: what is started in order is stopped in the reverse order."""

    log = Logger()

    def __init__(
        self, config: MasterConfig, reactor: Any, settings: Path | None = None
    ) -> None:
        """``settings`` is the file of ``config``, whose roles are read when it changes."""
        self._config = config
        self._settings = settings
        self._reactor = reactor
        self._undo: list[Callable[[], object]] = []

    def startService(self) -> None:
        super().startService()
        Deferred.fromCoroutine(self._start()).addErrback(self._did_not_start)

    def stopService(self) -> Deferred[None]:
        """Fires when everything that was started has stopped."""
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _start(self) -> None:
        config, clock = self._config, self._reactor
        data = config.data_folder
        data.mkdir(parents=True, exist_ok=True)
        pid_file = PidFile(data / "buildmaster.pid")
        pid_file.take()
        self._undo.append(pid_file.give_up)
        tokens = Tokens.load(data)
        tls = self._tls_options()
        blobs = BlobStore(data / "blobs", config.blob_limit)

        dsn = await self._database_dsn()
        await deferToThread(migrate, dsn)
        books = await self._connect(Database(dsn, clock, name="headrace-master"))
        readers = await self._connect(
            Database(dsn, clock, name="headrace-status", statement_timeout=READERS_PATIENCE)
        )
        await books.transaction(durability.warn)
        await self._take_name(dsn)
        await books.transaction(partial(forget_sessions, master=config.name))
        await settled_workers(books, self._settled_tokens())
        tokens = tokens.with_attempt_secret(
            await books.transaction(
                lambda cursor: attempt_secret(cursor, tokens.attempt_secret)
            )
        )
        kinds = Kinds.found(config.kinds)
        await install(dsn, books, kinds)
        classes = WorkflowClasses.found()

        clients = Clients(books)
        await clients.round()
        entrance = await self._entrance(books)
        forecaster = Forecaster(readers, clock)
        feed = EventFeed(readers, clock)
        feed.start()
        self._undo.append(feed.stop)
        status = Status(readers, Details(readers, kinds), forecaster, feed)
        neighbours = Neighbours(clock, readers, blobs, config.name, tokens.file_token)
        meters = Meters(pools={"books": books, "readers": readers}, folder=data / "blobs")
        gives_work = config.listen.workers is not None
        work: Dispatching | None = None

        def new_session() -> Session:
            if work is None:
                raise NotYet("this master is only starting: come again")
            return work.new_session()

        # Other masters look by themselves, a second later.
        def cancelled() -> None:
            if work is not None:
                work.cancelled()

        def operated() -> None:
            if work is not None:
                work.operated()

        farm = self._farm(books, blobs, cancelled, kinds, neighbours)
        threads = step_threads(clock)
        self._undo.append(threads.stop)
        control = Control(books, classes, threads)
        hooks = Webhooks(control, threads, secrets(data, config.webhooks))
        http = await self._serve_http(
            site(
                readers,
                feed,
                farm,
                blobs,
                tokens,
                clock,
                config.hosts,
                master=config.name,
                upload_limit=config.blob_limit,
                workers=websocket.Listener(clock, new_session) if gives_work else None,
                admission=Admission(books),
                clients=clients,
                forecaster=forecaster,
                status=status,
                access_log=self._access_log(),
                scheme="https" if tls else "http",
                operations=Operations(books, operated),
                open_reading=config.open_reading,
                kinds=kinds,
                elsewhere=neighbours,
                project_quota=config.project_quota,
                acts=Acts(books),
                entrance=entrance,
                provider=(
                    None
                    if config.people is None
                    else open_provider(config.people, data, clock)
                ),
                public_url=config.public_url,
                meters=meters,
                control=control,
                webhooks=hooks,
            ),
            tls,
        )
        await books.transaction(partial(announce, master=self._as_neighbour(http)))

        knowing = [Rounds("clients", clients.round, clock, interval=5.0)]
        if entrance is not None:
            knowing.append(Rounds("stays", entrance.stays.round, clock, interval=5.0))
        for rounds in knowing:
            rounds.startService()
            self._undo.append(rounds.stopService)
            books.listen(TOKEN_CHANNEL, rounds.woken)
        workers = None
        if config.listen.workers is not None:
            place = Place(config, clock, books, readers, tokens, kinds)
            work = Dispatching(
                place, http, forecaster, farm.enqueue_within, meters.dispatch.add
            )
            port = await work.start(config.listen.workers, tls, self._undo)
            workers = reached_at("pbs" if tls else "pb", config.listen.workers, port)
            scheduler = Scheduler(
                books, control, farm.prepare, farm.enqueue_within, cancelled
            )
            scheduling = Rounds("schedules", scheduler.round, clock)
            scheduling.startService()
            self._undo.append(scheduling.stopService)
            running = Running(
                dsn,
                clock,
                config.name,
                classes,
                step_threads(clock),
                farm.enqueue_within,
                farm.prepare,
                cancelled,
                farm.rules.trust_domain,
            )
            await running.start(self._undo)
        told = await self._serve_status(
            status, readers, Bearers(tokens, clients), tls, control.signal
        )
        Addresses(http, workers, told).write(data)
        where = "nowhere: this master gives no work" if workers is None else workers
        self.log.info("HTTP at {http}, workers at {workers}", http=http, workers=where)

    def _tls_options(self) -> Any:
        files, folder = self._config.tls, self._config.data_folder
        if files is None:
            return None
        return listener_options(folder / files.certificate, folder / files.key)

    async def _serve_http(self, pages: Any, tls: Any) -> str:
        address = self._config.listen.http
        port = await endpoint(self._reactor, address, tls).listen(pages)
        self._undo.append(port.stopListening)
        scheme = "https" if tls else "http"
        return self._config.public_url or reached_at(scheme, address, port)

    async def _entrance(self, books: Database) -> Entrance | None:
        """Where people come in, if the settings have any."""
        config = self._config
        if config.people is None:
            return None
        entrance = open_entrance(
            config.people,
            books,
            config.data_folder,
            is_secure=config.is_secure,
            settings=self._settings,
        )
        await entrance.stays.round()
        return entrance

    def _access_log(self) -> AccessLog | None:
        if not self._config.access_log:
            return None
        log = AccessLog(self._config.data_folder / "access.log")
        self._undo.append(log.close)
        return log

    async def _serve_status(
        self,
        status: Status,
        readers: Database,
        bearers: Bearers,
        tls: Any,
        signal: pb_server.Signal,
    ) -> str | None:
        """The status over PB, if the settings say where; its address."""
        address = self._config.listen.status
        if address is None:
            return None
        open_reading = self._config.open_reading
        port = await pb_server.listen(
            self._reactor,
            endpoint(self._reactor, address, tls),
            status,
            bearers.find,
            lambda grant: Permission(readers, grant, open_reading=open_reading),
            signal,
        )
        self._undo.append(port.stopListening)
        return reached_at("pbs" if tls else "pb", address, port)

    def _as_neighbour(self, http: str) -> Neighbour:
        """This master, as others know it."""
        config, fingerprint = self._config, None
        if config.tls is not None and config.public_url is None:
            fingerprint = fingerprint_in(config.data_folder / config.tls.certificate)
        return Neighbour(config.name, http, fingerprint)

    def _farm(
        self,
        books: Database,
        blobs: BlobStore,
        cancelled: Callable[[], None],
        kinds: Kinds,
        neighbours: Neighbours,
    ) -> LiveFarm:
        config = self._config
        git = GitReader(
            self._reactor, config.data_folder / "git", config.local_repositories
        )
        rules = SubmissionRules(
            DEFAULT_SERIES,
            isolation=config.isolation,
            run_limit=config.run_limit,
            idle_limit=config.idle_limit,
            requirements=config.kinds.get("build", Requirements()),
        )
        return LiveFarm(books, git, blobs, rules, cancelled, kinds, neighbours)

    async def _database_dsn(self) -> str:
        if self._config.database != EMBEDDED:
            return self._config.database
        postgres = EmbeddedPostgres(
            self._reactor, self._config.data_folder, lost=self._lost_database
        )
        self._undo.append(lambda: Deferred.fromCoroutine(postgres.stop()))
        return await postgres.start()

    async def _connect(self, database: Database) -> Database:
        await database.start()
        self._undo.append(lambda: Deferred.fromCoroutine(database.stop()))
        return database

    async def _take_name(self, dsn: str) -> None:
        """Be the only one of this name: workers' sessions are known by their master's."""
        name = Hold(dsn, self._reactor, KIND, self._config.name)
        self._undo.append(lambda: Deferred.fromCoroutine(name.stop()))
        await name.take(NAME_PATIENCE)

    def _settled_tokens(self) -> dict[str, bytes]:
        """What the settings file says of each worker's token: its SHA-256."""
        tokens = {}
        for name, entry in self._config.workers.items():
            if entry.token_sha256 is not None:
                tokens[name] = bytes.fromhex(entry.token_sha256)
            else:
                path = self._config.data_folder / str(entry.token_file)
                tokens[name] = token_hash(path.read_text().strip())
        return tokens

    def _lost_database(self, reason: str) -> None:
        self._end_with(f"PostgreSQL ended by itself: {reason}")

    def _did_not_start(self, failure: Failure) -> None:
        if failure.check(CannotListenError):
            error: Any = failure.value
            self._end_with(
                f"another program listens at {error.interface}:{error.port}: stop it, or "
                f"change listen in the settings file"
            )
            return
        if failure.check(HeldByAnother):
            self._end_with(
                f"another master named {self._config.name} works with this database: give"
                f" each a name of its own with name in its settings file"
            )
            return
        if failure.check(BadCertificate, BadKind, BadFile, BadSecret):
            self._end_with(failure.getErrorMessage())
            return
        self.log.failure("the buildmaster did not start", failure)
        self._end_with(failure.getErrorMessage())

    def _end_with(self, sentence: str) -> None:
        """Say why on standard error, stop everything, and exit with status 1."""
        self.log.critical("{sentence}", sentence=sentence)
        # Twisted sends what is printed into the log; this is for whoever started us.
        print(f"buildmaster: {sentence}", file=sys.__stderr__, flush=True)
        self._reactor.addSystemEventTrigger("after", "shutdown", os._exit, 1)
        # What fails at once fails before the reactor runs.
        self._reactor.callWhenRunning(self._reactor.stop)

    async def _stop(self) -> None:
        while self._undo:
            undo = self._undo.pop()
            try:
                await maybeDeferred(undo)
            except Exception:
                self.log.failure("something did not stop in order")

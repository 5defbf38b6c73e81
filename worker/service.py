"""The worker daemon, put together: ``twistd buildworker --config FILE``."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from twisted.application.service import Service
from twisted.internet.defer import Deferred, TimeoutError, maybeDeferred
from twisted.logger import Logger
from twisted.python import usage

from protocol import OLDEST_PROTOCOL_VERSION, PROTOCOL_VERSION
from protocol.messages import Hello, Holding, Offer
from protocol.steady import make_steady
from worker.attempts import AllAttempts
from worker.config import (
    ConfigError,
    WorkerConfig,
    read_config,
    read_token,
)
from worker.connecting import connect
from worker.connection import Connection
from worker.dialogue import Dialogue
from worker.holdings import Holdings
from worker.native.interface import INativeJob
from worker.native.natives import Natives
from worker.native.registry import BadNativeJob, check_commands, find_callables
from worker.offers import offers, takes, this_machine, unfit
from worker.pidfile import FolderTaken, PidFile
from worker.sizes import Sizes, sizes
from worker.slots import Slots
from worker.supervisor.nursery import Nursery
from worker.supervisor.secrets_file import BadSecrets, read_secrets
from worker.supervisor.settings import Settings

SOFTWARE = "headrace 0.1.0"
#: Seconds that builds get to end when the daemon stops and takes them with it.
STOP_LIMIT = 10.0

_log = Logger()


class Options(usage.Options):
    """What twistd is told."""

    optParameters = [  # noqa: N815
        ["config", "c", None, "The worker's settings file (YAML)."]
    ]

    def postOptions(self) -> None:
        """Refuse to start without settings."""
        if self["config"] is None:
            raise usage.UsageError("--config FILE is missing")


def makeService(options: Options) -> WorkerDaemon:
    """The whole daemon. Read this function to see of what it consists.

    What the operator must mend ends the process with a sentence and exit status 1.
    """
    from twisted.internet import reactor

    make_steady(reactor)
    try:
        config = read_config(Path(options["config"]))
        read_token(Path(config.token_file))
        _check_secrets(config)
        pid_file = _prepare_folder(Path(config.data))
        offered = _offers(config)
        callables, commands = _native_jobs(config, offered)
    except (ConfigError, FolderTaken) as error:
        raise SystemExit(f"buildworker cannot start: {error}") from error
    nursery = Nursery()
    slots = Slots(config.slots)
    holdings = Holdings(
        reactor,
        Path(config.data, "builds"),
        _settings(config),
        slots=slots,
        unfit=lambda order: unfit(offered, order),
        free_bytes=config.free_bytes,
        launch=nursery.launch,
    )
    natives = Natives(reactor, slots, callables, commands, config.trust)
    attempts = AllAttempts(holdings, natives)
    announced = Announced(offered, natives.performs, takes(config, offered), sizes(config))
    connection = Connection(
        reactor,
        config.addresses,
        lambda master, peer: connect(reactor, master, config.trust, peer),
        lambda: _new_dialogue(reactor, config, announced, attempts),
    )
    return WorkerDaemon(reactor, config, pid_file, nursery, holdings, natives, connection)


@dataclass(frozen=True)
class Announced:
    """What ``hello`` tells of this worker that its settings alone do not."""

    offers: tuple[Offer, ...]
    performs: tuple[str, ...]
    takes: tuple[str, ...]
    sizes: Sizes


class WorkerDaemon(Service):
    """Starts and stops the parts in the order they need."""

    def __init__(
        self,
        reactor: Any,
        config: WorkerConfig,
        pid_file: PidFile,
        nursery: Nursery,
        holdings: Holdings,
        natives: Natives,
        connection: Connection,
    ) -> None:
        self._reactor = reactor
        self._config = config
        self._pid_file = pid_file
        self._nursery = nursery
        self._holdings = holdings
        self._natives = natives
        self._connection = connection

    def startService(self) -> None:
        """Find what was left, then look for a master."""
        super().startService()
        self._pid_file.note()
        self._nursery.open()
        self._holdings.load()
        self._connection.startService()
        _log.info(
            "worker {name} started with {slots} slots in {data}",
            name=self._config.name,
            slots=self._config.slots,
            data=self._config.data,
        )

    def stopService(self) -> Deferred[None]:
        """Fires when builds were left or ended, as set, and the line is shut.

        Native jobs cannot be left: they have nobody but this daemon.
        """
        super().stopService()
        return Deferred.fromCoroutine(self._stop())

    async def _stop(self) -> None:
        await self._natives.stop("its worker was stopped")
        if self._config.on_stop == "kill":
            ending = Deferred.fromCoroutine(
                self._holdings.cancel_all("its worker was stopped")
            )
            try:
                await ending.addTimeout(STOP_LIMIT, self._reactor)
            except TimeoutError:
                _log.error("builds did not end in {seconds:g} s", seconds=STOP_LIMIT)
                await self._holdings.kill_all()
        await maybeDeferred(self._connection.stopService)
        self._holdings.detach()
        self._nursery.close()
        self._pid_file.give_up()


def _prepare_folder(data: Path) -> PidFile:
    try:
        data.mkdir(mode=0o700, parents=True, exist_ok=True)
        (data / "builds").mkdir(mode=0o700, exist_ok=True)
        pid_file = PidFile(data / "worker.pid")
        pid_file.take()
    except OSError as error:
        raise ConfigError(
            f"the data folder {data} cannot be used: {error.strerror}; name another, or "
            "give this account the right to write there"
        ) from error
    return pid_file


def _offers(config: WorkerConfig) -> tuple[Offer, ...]:
    missing: list[str] = []
    found = offers(config, this_machine(), missing.append)
    if not found:
        raise ConfigError(f"nothing in isolations can be offered; {'; '.join(missing)}")
    for sentence in missing:
        _log.warn("{sentence}", sentence=sentence)
    return tuple(found)


def _native_jobs(
    config: WorkerConfig, offered: tuple[Offer, ...]
) -> tuple[dict[str, INativeJob], dict[str, tuple[str, ...]]]:
    """The callables and the commands that this worker performs."""
    wanted = config.native_jobs
    if wanted is None:
        wanted = any(offer.isolation == "native" for offer in offered)
    if not wanted:
        return {}, {}
    try:
        callables = find_callables()
        check_commands(config.native_commands, callables)
    except BadNativeJob as error:
        raise ConfigError(f"native jobs: {error}") from error
    return callables, config.native_commands


def _check_secrets(config: WorkerConfig) -> None:
    """Refuse a secrets file that no build could read; each reads it afresh."""
    if config.secrets_file is not None:
        try:
            read_secrets(Path(config.secrets_file))
        except BadSecrets as error:
            raise ConfigError(f"secrets_file: {error}") from error


def _settings(config: WorkerConfig) -> Settings:
    return Settings(
        cache=config.cache,
        images=config.images,
        engine=config.engine,
        containers=config.containers,
        architecture=this_machine().architecture,
        series_images=config.series_images,
        vm_jobs=config.vm_jobs,
        network=config.network,
        environment=config.environment,
        package_repositories=config.package_repositories,
        replace_package_repositories=config.replace_package_repositories,
        secrets_file=config.secrets_file,
        ca_file=config.ca_file,
        master_fingerprint=config.master_fingerprint,
        trusted_ppas=config.trusted_ppas,
        memory_limit=config.memory_limit,
        process_limit=config.process_limit,
        processor_limit=config.processor_limit,
        disk_limit=config.disk_limit,
        package_layer_age=config.package_layer_age,
        cache_limit=config.cache_limit,
        launchpad_api=config.launchpad_api,
        plugin_settings={str(key): text for key, text in config.plugin_settings.items()},
    )


def _new_dialogue(
    reactor: Any, config: WorkerConfig, announced: Announced, attempts: AllAttempts
) -> Dialogue:
    # At every hello afresh, so that a token can be exchanged while builds run.
    token = read_token(Path(config.token_file))

    def hello(holding: tuple[Holding, ...]) -> Hello:
        return Hello(
            oldest_version=OLDEST_PROTOCOL_VERSION,
            newest_version=PROTOCOL_VERSION,
            worker=config.name,
            token=token,
            boot=_boot_id(),
            software=SOFTWARE,
            offers=announced.offers,
            performs=announced.performs,
            takes=announced.takes,
            tags=config.tags,
            restricted_tags=config.restricted_tags,
            cpu=announced.sizes.cpu,
            memory=announced.sizes.memory,
            disk=announced.sizes.disk,
            slots=config.slots,
            holding=holding,
        )

    return Dialogue(reactor, attempts, hello)


def _boot_id() -> str:
    """What changes when this machine restarts."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()

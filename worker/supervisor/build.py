"""The build: one attempt of an order, from the fetching of its source to its end."""

from __future__ import annotations

import contextlib
from pathlib import Path

from protocol.order import Order
from protocol.results import Result
from protocol.trust import Trust
from worker.environments.interface import EnvironmentFault
from worker.supervisor import attach, engine, source
from worker.supervisor.blobs import Blobs
from worker.supervisor.endings import (
    CannotRun,
    Ending,
    Stopped,
    disk_full,
    is_disk_full,
    no_room,
    print_traceback,
)
from worker.supervisor.ledger import Ledger
from worker.supervisor.lingering import Lingering, lingers
from worker.supervisor.log import Log
from worker.supervisor.making import Make, make
from worker.supervisor.pipeline_job import PipelineJobs, Surroundings
from worker.supervisor.settings import Settings
from worker.supervisor.spool import Spool
from worker.supervisor.stopping import Stopper

#: Bytes set aside for the last reports: some, and some for each pipeline job.
_RESERVE = 64 * 1024
_RESERVE_EACH = 4 * 1024


class Build:
    """One attempt; `run` it once."""

    def __init__(
        self,
        folder: Path,
        order: Order,
        settings: Settings,
        spool: Spool,
        stopper: Stopper,
        make: Make = make,
    ) -> None:
        log = Log(spool.append, settings.log_limit)
        self._folder = folder
        self._spool = spool
        self._ledger = Ledger(order, spool.append)
        self._jobs: PipelineJobs | None = None
        self._around = Surroundings(
            order=order,
            settings=settings,
            folder=folder,
            log=log,
            stopper=stopper,
            blobs=Blobs(
                order.artifacts.url,
                order.artifacts.token,
                log.say,
                trust=Trust(settings.ca_file, settings.master_fingerprint),
                moved=lambda: attach.files_url(folder),
            ),
            make=make,
        )

    def run(self) -> None:
        """Run the attempt and report its end; then remove its environments.

        When the end is reported nothing runs any more. An environment that lingers is
        removed when its time has come, or somebody wants that. OSError if not even the
        end could be reported.
        """
        try:
            self._run()
        except Stopped as stopped:
            self._break_off(stopped.stop.result, stopped.stop.reason)
        except Ending as ending:
            self._break_off(ending.result, ending.reason, ending.final)
        except Exception as error:
            if is_disk_full(error):
                self._remove_environments()
                self._break_off(Result.ERROR, disk_full(self._folder))
            else:
                print_traceback()
                self._break_off(
                    Result.ERROR,
                    f"the worker itself failed ({type(error).__name__}: {error}); "
                    f"{self._folder / 'supervisor.log'} there tells more",
                )
        self._linger()
        self._remove_environments()

    def _linger(self) -> None:
        remains = None if self._jobs is None else self._jobs.remains
        if remains is None or not lingers(self._folder):
            return
        try:
            Lingering(self._folder, remains, self._around.stopper).run()
        except Exception:
            print_traceback()

    def _run(self) -> None:
        around = self._around
        order = around.order
        self._learn_secrets()
        engine.check(order)
        self._spool.reserve(
            _RESERVE + _RESERVE_EACH * sum(len(stage) for stage in order.stages)
        )
        with around.stopper.interruptible():
            try:
                place = source.fetch(
                    order, around.settings, around.blobs, self._folder, around.log.say
                )
            except CannotRun as error:
                if no_room(self._folder):
                    raise CannotRun(disk_full(self._folder)) from error
                raise
        self._jobs = PipelineJobs(around, place)
        engine.run_stages(order, self._ledger, self._jobs.run)

    def _learn_secrets(self) -> None:
        """Let none of the worker's secrets stand in the log, however a job came by them.

        A file that cannot be read fails the jobs that need it, and says why.
        """
        secrets_file = self._around.settings.secrets_file
        if secrets_file is None:
            return
        from worker.supervisor.secrets_file import BadSecrets, read_secrets

        with contextlib.suppress(BadSecrets):
            self._around.log.redactor.learn(read_secrets(Path(secrets_file)).values())

    def _break_off(self, result: Result, reason: str, final: bool = False) -> None:
        reason = self._around.log.redactor.text(reason)
        seconds = None
        if self._jobs is not None:
            self._jobs.end()
            with contextlib.suppress(OSError):
                seconds = self._jobs.linger(result, reason)
        with contextlib.suppress(OSError):
            self._around.log.say(f"== {result.value}: {reason}")
        self._spool.use_reserve()
        self._ledger.break_off(result, reason, final, seconds)

    def _remove_environments(self) -> None:
        if self._jobs is None:
            return
        try:
            self._jobs.destroy()
        except EnvironmentFault:
            # The daemon sweeps again when it removes the attempt.
            print_traceback()

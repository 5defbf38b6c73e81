"""One concrete pipeline job: from a fresh copy of the project to the files it made."""

from __future__ import annotations

import os
import re
import shutil
import stat
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from protocol.messages import FileMade
from protocol.order import Order
from protocol.pipeline.model import PipelineJob
from protocol.results import Result
from protocol.stages import Cell, title
from worker.environments.interface import (
    UNPRIVILEGED,
    BadPath,
    EnvironmentFault,
    IEnvironment,
    Unfit,
)
from worker.supervisor import commands, handing, inputs, lpci, outputs
from worker.supervisor.baking import Baking, can_bake
from worker.supervisor.blobs import Blobs
from worker.supervisor.endings import (
    CannotRun,
    Ending,
    Failed,
    Malformed,
    Outcome,
    disk_full,
    no_room,
)
from worker.supervisor.installing import (
    Installing,
    Wanted,
    check_snaps,
    forget_secrets,
)
from worker.supervisor.lingering import LINGERING_RESULTS, Remains, note
from worker.supervisor.log import Log
from worker.supervisor.making import Make, Site, isolation_of
from worker.supervisor.running import Patience, run_to_end
from worker.supervisor.settings import Settings
from worker.supervisor.stopping import Stopper

if TYPE_CHECKING:
    from worker.environments.images import Image
    from worker.environments.layers import Layer

_SHELL = ("bash", "--noprofile", "--norc", "-ec")


@dataclass(frozen=True, kw_only=True)
class Surroundings:
    """What all pipeline jobs of an attempt share."""

    order: Order
    settings: Settings
    folder: Path  #: the attempt's
    log: Log
    stopper: Stopper
    blobs: Blobs
    make: Make

    @property
    def outputs(self) -> Path:
        """Where the outputs of pipeline jobs lie, for the inputs of later ones."""
        return self.folder / "outputs"


class PipelineJobs:
    """Runs the pipeline jobs of an attempt; owns their environments.

    There is one for each series, and another where jobs of a series differ in isolation.
    """

    def __init__(self, around: Surroundings, source: Path) -> None:
        self._around = around
        self._source = source
        self._environments: dict[tuple[str, str], IEnvironment] = {}
        self._installing = Installing(around.settings, around.log.say, around.log.redactor)
        self._baking = Baking(around.settings, around.log.say, self._install)
        #: What the pipeline job that runs, or ran last, leaves behind.
        self.remains: Remains | None = None

    def run(self, cell: Cell, job: PipelineJob, stage: int) -> Outcome:
        """Run one; how it ended. `Stopped` and OSError (a full disk) pass through."""
        log = self._around.log
        order = self._around.order
        log.belongs_to(cell)
        log.say(
            f"== {title(*cell)}: {job.series}, {order.architecture}, "
            f"{isolation_of(order, self._around.settings, cell[0])}, stage {stage + 1}"
        )
        begun = time.monotonic()
        self.remains = None
        outcome = self._outcome(cell, job)
        remains = self.remains
        outcome = replace(
            outcome,
            reason=log.redactor.text(outcome.reason),
            image="" if remains is None else _told(remains.environment.image),
            lingers=self.linger(outcome.result, outcome.reason),
        )
        verb = "passed" if outcome.result is Result.SUCCESS else outcome.result.value
        took = f"{time.monotonic() - begun:.1f} s"
        why = f": {outcome.reason}" if outcome.reason else ""
        log.say(f"== {title(*cell)}: {verb} after {took}{why}")
        log.belongs_to(None)
        return outcome

    def linger(self, result: Result, reason: str) -> float | None:
        """Have the last environment linger, if it was asked for and the job failed.

        How long, in seconds; None if it doesn't.
        """
        seconds = self._around.order.linger
        remains = self.remains
        if seconds is None or remains is None or result not in LINGERING_RESULTS:
            return None
        try:
            remains.environment.end()
            forget_secrets(remains.environment, self._around.log.redactor)
            note(self._around.folder, remains.cell, reason, seconds)
        except (EnvironmentFault, BadPath, OSError) as error:
            self._around.log.say(f"-- its environment cannot be held: {error}")
            return None
        self._around.log.say(
            f"-- its environment is held for {seconds:g} s: "
            f"headrace shell {self._around.order.job}"
        )
        return seconds

    def end(self) -> None:
        """Kill whatever runs in the environments."""
        for environment in self._environments.values():
            environment.end()

    def destroy(self) -> None:
        """Remove the environments."""
        for environment in self._environments.values():
            environment.destroy()

    def _outcome(self, cell: Cell, job: PipelineJob) -> Outcome:
        try:
            return self._run(cell, job)
        except Ending as ending:
            return ending.outcome()
        except Unfit as error:
            return Malformed(f"{title(*cell)} cannot run here: {error}").outcome()
        except (EnvironmentFault, BadPath) as error:
            if no_room(self._around.folder):
                return CannotRun(disk_full(self._around.folder)).outcome()
            return CannotRun(f"the environment failed: {error}").outcome()

    def _run(self, cell: Cell, job: PipelineJob) -> Outcome:
        around = self._around
        settings = around.settings
        script = commands.script(
            cell, job, around.order.architecture, self._source, settings.plugin_settings
        )
        if settings.engine == "lpci" and around.order.isolation == "chroot":
            return self._run_by_lpci(cell, job)
        with around.stopper.interruptible():
            handed = handing.fetch(around.order, around.blobs, around.folder)
        environment = self._prepared(cell, job, script.packages)
        user = self._user(cell, job, environment)
        # What the operator says wins: nobody else knows how this worker is connected.
        given = {**around.order.variables, **handing.variables(around.order, environment)}
        variables = commands.environment(
            environment.variables, given, script.environment, settings.environment
        )
        own = commands.environment(environment.variables, given, script.environment)
        self.remains = Remains(cell, environment, user, own)
        made = outputs.place_of(around.outputs, cell)
        environment.begin()
        try:
            with around.stopper.interruptible():
                environment.push(self._source, environment.project, owner=user)
                if handed is not None:
                    handing.put_in(environment, handed, around.order, user)
                installation = self._installing.commands(
                    environment, Wanted(cell=cell, job=job, packages=script.packages)
                )
            for argv in installation:
                self._install(environment, argv, variables)
            if job.input is not None:
                self._put_in(environment, job, user)
            for key, text in script.steps:
                argv = [*_SHELL, text]
                around.log.say(f"-- {key}: {_first_line(text)}")
                self._command(environment, argv, variables, user, f"`{key}`")
            properties, files = self._collect(environment, job, made)
        except Failed as failure:
            files = self._salvage(environment, job, made)
            return replace(failure.outcome(), files=files)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        finally:
            environment.end()
        return Outcome(Result.SUCCESS, "", 0, properties, files)

    def _run_by_lpci(self, cell: Cell, job: PipelineJob) -> Outcome:
        """Have the real lpci run ``job``, in a container of its own making."""
        from worker.environments.native import Native

        around = self._around
        lpci.check(around.order, self._source, cell)
        place = ("lpci", "")
        if place not in self._environments:
            folder = around.folder / "environments" / str(len(self._environments))
            folder.parent.mkdir(exist_ok=True)
            self._environments[place] = Native(folder, say=around.log.say)
            self._environments[place].prepare()
        environment = self._environments[place]
        made = outputs.place_of(around.outputs, cell)
        shutil.rmtree(made, ignore_errors=True)
        environment.begin()
        try:
            with around.stopper.interruptible():
                environment.push(self._source, environment.project)
                self._restore(job)
            argv = lpci.command(around.settings, cell, around.outputs)
            around.log.say(f"-- {' '.join(argv[:3])} {title(*cell)}")
            home = {"HOME": os.path.expanduser("~")}
            variables = {**environment.variables, **home}
            self._command(environment, argv, variables, None, "lpci")
            with around.stopper.interruptible():
                found = lpci.result(around.outputs, cell)
                files = () if found is None else outputs.upload(made, around.blobs)
            self._say_files(files)
        except BaseException:
            shutil.rmtree(made, ignore_errors=True)
            raise
        finally:
            environment.end()
        return Outcome(Result.SUCCESS, "", 0, found, files)

    def _prepared(
        self, cell: Cell, job: PipelineJob, packages: tuple[str, ...]
    ) -> IEnvironment:
        """The environment of its series, kept from one pipeline job to the next.

        If ``job`` is the first of its series, ``packages`` are in it from the start.
        """
        around = self._around
        series = job.series
        isolation = isolation_of(around.order, around.settings, cell[0])
        place = (isolation, series)
        if place not in self._environments:
            number = len(self._environments)
            folder = around.folder / "environments" / str(number)
            folder.parent.mkdir(exist_ok=True)
            site = Site(
                order=around.order,
                settings=around.settings,
                series=series,
                isolation=isolation,
                folder=folder,
                say=around.log.say,
                layer=lambda image: self._layer(image, job, packages, folder),
            )
            with around.stopper.interruptible():
                environment = around.make(site)
                check_snaps(environment, cell, job)
                # Known before it is there: then it is also removed if it is half there.
                self._environments[place] = environment
                environment.prepare()
        check_snaps(self._environments[place], cell, job)
        return self._environments[place]

    def _layer(
        self, image: Image, job: PipelineJob, packages: tuple[str, ...], folder: Path
    ) -> Layer | None:
        settings = self._around.settings
        if not can_bake(settings, job, packages):
            return None
        layer = self._baking.layer(image, packages, folder)
        if settings.images is not None and layer is not None and layer.is_new:
            from worker.environments.budget import trim_images

            trim_images(Path(settings.images), settings.cache_limit)
        return layer

    def _user(self, cell: Cell, job: PipelineJob, environment: IEnvironment) -> str | None:
        """Who runs the commands of ``job``; None for who administers the environment."""
        if job.root:
            return None
        if self._around.order.isolation == "native":
            if os.geteuid() != 0:
                self._around.log.say(
                    "-- root: this worker runs as an ordinary user, and so does the job"
                )
            elif not _is_open(Path(environment.project)):
                raise CannotRun(
                    f"`root: false` of {title(*cell)} is not possible on this worker: it "
                    f"runs as root in {self._around.folder}, which no other account can "
                    "enter; let its operator start it as an ordinary user, or let the "
                    "build run in a chroot"
                )
        return UNPRIVILEGED

    def _install(
        self, environment: IEnvironment, argv: list[str], variables: Mapping[str, str]
    ) -> None:
        self._around.log.say(f"-- installing: {' '.join(argv)}")
        self._command(environment, argv, variables, None, " ".join(argv))

    def _command(
        self,
        environment: IEnvironment,
        argv: list[str],
        variables: Mapping[str, str],
        user: str | None,
        called: str,
    ) -> None:
        around = self._around
        process = environment.command(
            argv, environment=variables, directory=environment.project, user=user
        )
        patience = Patience(idle=around.order.limits.idle, grace=around.settings.grace)
        status = run_to_end(process, around.log, around.stopper, patience, environment.end)
        if status == 0:
            return
        if no_room(around.folder):
            raise CannotRun(disk_full(around.folder), exit_status=status)
        exhausted = environment.exhausted()
        why = f"; {exhausted}" if exhausted else ""
        signal = f" (signal {status - 128} killed it)" if status > 128 else ""
        raise Failed(
            f"{called} ended with exit status {status}{signal}{why}", exit_status=status
        )

    def _put_in(
        self, environment: IEnvironment, job: PipelineJob, user: str | None
    ) -> None:
        around = self._around
        assert job.input is not None
        with around.stopper.interruptible():
            self._restore(job)
            inputs.put_in(environment, job.input, around.outputs, self._source, user)

    def _restore(self, job: PipelineJob) -> None:
        """Bring back the output of an earlier attempt or build that ``job`` wants."""
        around = self._around
        for kept in (*around.order.kept, *around.order.upstream):
            if job.input is not None and kept.name == job.input.job_name:
                inputs.restore(kept, around.outputs, around.blobs)

    def _collect(
        self, environment: IEnvironment, job: PipelineJob, made: Path
    ) -> tuple[dict[str, Any] | None, tuple[FileMade, ...]]:
        around = self._around
        with around.stopper.interruptible():
            shutil.rmtree(made, ignore_errors=True)
            properties = outputs.collect(
                environment, job, around.order.license, made, around.log.redactor
            )
            if properties is None:
                return None, ()
            files = outputs.upload(made, around.blobs)
        self._say_files(files)
        return properties, files

    def _salvage(
        self, environment: IEnvironment, job: PipelineJob, made: Path
    ) -> tuple[FileMade, ...]:
        """What a job that failed made all the same; never anybody's `input`."""
        around = self._around
        files: tuple[FileMade, ...] = ()
        shutil.rmtree(made, ignore_errors=True)
        try:
            with around.stopper.interruptible():
                outputs.salvage(environment, job, made)
                files = outputs.upload(made, around.blobs)
        except (Ending, EnvironmentFault, BadPath, OSError) as error:
            # The job's own failure is what counts.
            around.log.say(f"-- output: what there is could not be kept: {error}")
        finally:
            shutil.rmtree(made, ignore_errors=True)
        self._say_files(files)
        return files

    def _say_files(self, files: tuple[FileMade, ...]) -> None:
        if files:
            size = sum(file.size for file in files)
            self._around.log.say(f"-- output: {len(files)} files, {size:,} bytes")


def _told(image: str) -> str:
    """The key of an image as a report takes it; one that is no key is not told."""
    return image if re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._+-]{0,199}", image) else ""


def _is_open(folder: Path) -> bool:
    """Whether every account may enter ``folder``, as far as it exists."""
    return all(
        path.stat().st_mode & stat.S_IXOTH
        for path in (folder, *folder.parents)
        if path.exists()
    )


def _first_line(text: str) -> str:
    lines = text.strip().splitlines()
    more = f" (and {len(lines) - 1} more lines)" if len(lines) > 1 else ""
    return f"{lines[0][:200] if lines else ''}{more}"

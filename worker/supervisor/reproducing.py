"""The program behind ``headrace reproduce``: one attempt's order, run on this machine.

``python -m worker.supervisor.reproducing FOLDER --images DIR --farm URL < DOCUMENT``; the
document is what the farm tells of the job: its order, and the digests of the images that
its environments were made of. The supervisor is the one that workers have; files that
earlier jobs made are fetched from the farm, those that this one makes stay here.
"""

from __future__ import annotations

import argparse
import os
import signal
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path

import msgspec
import zstandard

from protocol.messages import (
    Ended,
    LogChunk,
    PipelineJobEnded,
    Report,
    decode_from_worker,
)
from protocol.order import Artifacts, KeptJob, Order, TreeSource
from protocol.results import GOOD
from protocol.stages import title
from protocol.trust import Trust
from worker.environments.images import DISKS, KERNELS, LAYERS, STORE
from worker.supervisor import attach
from worker.supervisor.copying import Copying
from worker.supervisor.lingering import lingers
from worker.supervisor.settings import Settings
from worker.supervisor.spool import SpoolReader

#: Seconds without a master: there is none whose lease could end.
_NO_LEASE = 30 * 86400.0
_LOOK = 0.05
#: Seconds for which a shell may be looked around in.
_SHELL_FOR = 86400.0
LACKS_IMAGE = 4


class Reproduction(msgspec.Struct, frozen=True, kw_only=True):
    """What the farm tells of a job's current attempt."""

    order: Order
    images: dict[str, str] = {}  #: of each series, the key of its image
    #: What other pipeline jobs of the attempt made, for one that runs alone.
    made: tuple[KeptJob, ...] = ()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it; 0 if it passed."""
    parser = argparse.ArgumentParser(prog="headrace reproduce")
    parser.add_argument("folder", type=Path, help="made here, and left")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--farm", required=True)
    parser.add_argument("--document", type=int, default=0, metavar="DESCRIPTOR")
    parser.add_argument("--ca-file")
    parser.add_argument("--fingerprint")
    parser.add_argument("--any-image", action="store_true")
    parser.add_argument("--shell", action="store_true")
    parser.add_argument("--only", metavar="NAME:INDEX")
    chosen = parser.parse_args(arguments)
    with open(chosen.document, "rb") as stream:
        told = msgspec.json.decode(stream.read(), type=Reproduction)
    lacking = _lacking(chosen.images, told)
    if lacking and not chosen.any_image:
        for series, digest in lacking.items():
            print(_where_from(series, digest, chosen.images), file=sys.stderr)
        return LACKS_IMAGE
    images = _pinned(chosen.folder, chosen.images, told.images, lacking)
    trust = Trust(chosen.ca_file, chosen.fingerprint)
    token = os.environ.get("HEADRACE_TOKEN", "")
    place = chosen.folder / "files"
    with Copying(place, _files_of(told), chosen.farm, token, trust) as copying:
        order = arranged(told, copying.artifacts, chosen.only, chosen.shell)
        settings = Settings(
            cache=str(chosen.folder / "repositories"),
            images=str(images),
            series_images={each: each for each in _series(order)},
        )
        return _run(chosen.folder, order, settings)


def arranged(
    told: Reproduction, artifacts: Artifacts, only: str | None, shell: bool
) -> Order:
    """The order as it is to run here; ``only`` is one pipeline job, as ``name:index``."""
    order = told.order
    changes: dict[str, object] = {
        "artifacts": artifacts,
        "fence_after": _NO_LEASE,
        "linger": _SHELL_FOR if shell else None,
    }
    if isinstance(order.source, TreeSource):
        changes["source"] = msgspec.structs.replace(order.source, url="")
    if only is not None:
        place = next(
            (
                (number, cell)
                for number, stage in zip(order.stage_numbers, order.stages, strict=True)
                for cell in stage
                if title(*cell) == only
            ),
            None,
        )
        if place is None:
            cells = [title(*cell) for stage in order.stages for cell in stage]
            raise SystemExit(f"headrace: The job has no {only}; it has {', '.join(cells)}.")
        number, cell = place
        changes["stages"], changes["stage_numbers"] = ((cell,),), (number,)
        mine = {(each.name, each.index) for each in told.made} - {tuple(cell)}
        made = tuple(each for each in told.made if (each.name, each.index) in mine)
        others = tuple(e for e in order.upstream if (e.name, e.index) not in mine)
        changes["kept"], changes["upstream"] = (), (*made, *others)
    return msgspec.structs.replace(order, **changes)


def _run(folder: Path, order: Order, settings: Settings) -> int:
    place = folder / f"{order.job}-{order.attempt}"
    attach.write_order(place, order, settings)
    command = [sys.executable, "-P", "-m", "worker.supervisor", str(place)]
    process = subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stderr=(place / attach.LOG).open("wb"),
        cwd="/",
        env=attach.child_variables(),
        # Ctrl-C is for us: its jobs must get the time to end.
        start_new_session=True,
    )
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        signal.signal(number, lambda number, frame: process.terminate())
    told = _follow(place, process)
    status = 1 if told is None else _tell(folder, told)
    if lingers(place):
        shell = [sys.executable, "-P", "-m", "worker.supervisor.shell"]
        to = ["--builds", str(folder), "--attempt", place.name]
        subprocess.run([*shell, *to], env=attach.child_variables(), cwd="/")
        subprocess.run([*shell, *to, "--release"], env=attach.child_variables(), cwd="/")
    process.wait()
    attach.remove(place)
    return status


def _follow(place: Path, process: subprocess.Popen[bytes]) -> list[Report] | None:
    """Pass on the log as it grows; the other reports, or None if it has no end."""
    reader = SpoolReader(place)
    reports: list[Report] = []
    number = 1
    try:
        while True:
            over = process.poll() is not None
            while frames := reader.read_from(number, 1 << 20):
                number += len(frames)
                for frame in frames:
                    for message in decode_from_worker(frame):
                        if isinstance(message, Report):
                            _take(message, reports)
            if reports and isinstance(reports[-1].body, Ended):
                return reports
            if over:
                return None
            time.sleep(_LOOK)
    finally:
        reader.close()


def _take(report: Report, reports: list[Report]) -> None:
    if isinstance(report.body, LogChunk):
        sys.stdout.buffer.write(zstandard.decompress(report.body.data))
        sys.stdout.buffer.flush()
    else:
        reports.append(report)


def _tell(folder: Path, reports: Sequence[Report]) -> int:
    """Say how it ended, and put the files that it made in their places."""
    last = reports[-1].body
    assert isinstance(last, Ended)
    outputs = folder / "outputs"
    for report in reports:
        body = report.body
        if isinstance(body, PipelineJobEnded):
            for each in body.files:
                target = outputs / body.name / str(body.index) / each.path
                target.parent.mkdir(parents=True, exist_ok=True)
                with suppress(OSError):  # it cannot be called so here
                    os.link(folder / "files" / each.sha256, target)
    why = f": {last.reason}" if last.reason else ""
    print(f"==> here it ended as {last.result.value}{why}", file=sys.stderr)
    return 0 if last.result in GOOD else 1


def _files_of(told: Reproduction) -> dict[str, int]:
    """The size of each file that may be wanted of the farm."""
    order = told.order
    made = [job.files for job in (*order.kept, *order.upstream, *told.made)]
    handed = [each.files for each in order.handed]
    files = {file.sha256: file.size for each in (*made, *handed) for file in each}
    if isinstance(order.source, TreeSource):
        files[order.source.sha256] = order.source.size
    return files


def _series(order: Order) -> set[str]:
    return {job.series for jobs in order.jobs.values() for job in jobs}


def _lacking(images: Path, told: Reproduction) -> dict[str, str]:
    return {
        series: digest
        for series, digest in told.images.items()
        if not (images / STORE / digest).is_dir()
    }


def _where_from(series: str, digest: str, images: Path) -> str:
    return (
        f"headrace: The job ran on an image of {series} that is not here: {digest}. "
        f"Bring it from the worker's images folder, as root: 'tar -C IMAGES/{STORE} "
        f"-cf {series}.tar {digest}' there, 'tar -C {images / STORE} -xf {series}.tar' "
        f"here. Or let --any-image take this machine's own for {series}."
    )


def _pinned(
    folder: Path, images: Path, wanted: Mapping[str, str], lacking: Mapping[str, str]
) -> Path:
    """A folder of images in which each series stands for the one that is wanted."""
    pinned = folder / "images"
    pinned.mkdir(parents=True, exist_ok=True)
    for name in (STORE, LAYERS, DISKS, KERNELS):
        (images / name).mkdir(parents=True, exist_ok=True)
        _link(pinned / name, images / name)
    for each in images.iterdir():
        if each.is_symlink() and each.name not in wanted:
            _link(pinned / each.name, Path(STORE, Path(os.readlink(each)).name))
    for series, digest in wanted.items():
        if series in lacking:
            print(f"-- image: this machine's own for {series}, not {digest[:12]}")
            own = images / series
            if own.is_symlink():
                _link(pinned / series, Path(STORE, Path(os.readlink(own)).name))
        else:
            _link(pinned / series, Path(STORE, digest))
    return pinned


def _link(link: Path, target: Path) -> None:
    link.unlink(missing_ok=True)
    link.symlink_to(target)


if __name__ == "__main__":
    sys.exit(main())

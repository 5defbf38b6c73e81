"""A job with five packages for the first time; beside it the same job once more."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

from protocol.messages import Ended, Report, decode_from_worker
from protocol.order import Artifacts, GitSource, Order
from protocol.pipeline.model import PipelineJob
from protocol.results import Result
from worker.environments.images import Image
from worker.supervisor import attach
from worker.supervisor.settings import Settings
from worker.supervisor.spool import SpoolReader

_PACKAGES = ("hello", "ed", "bc", "jq", "tree")


def pair(
    image: Image, place: Path
) -> tuple[Callable[[Path], None], Callable[[Path], None]]:
    """The whole attempt, twice: the second finds what the first left."""
    images = place / "images"
    images.mkdir()
    (images / "by-digest").symlink_to(image.path.parent)
    (images / image.name).symlink_to(Path("by-digest", image.digest))
    source = _repository(place / "source")
    settings = Settings(cache=str(place / "cache"), images=str(images))
    job = PipelineJob(
        run="hello && tree --version && bc --version && jq --version && ed --version",
        series=image.name,
        architectures=("amd64",),
        packages=_PACKAGES,
    )
    order = Order(
        job=7,
        attempt=2,
        isolation="chroot",
        architecture="amd64",
        series=image.name,
        source=source,
        project="benchmark",
        stages=((("unit", 0),),),
        stage_numbers=(0,),
        jobs={"unit": (job,)},
        artifacts=Artifacts(url="http://127.0.0.1:1", token="none"),
        fence_after=600.0,
    )

    def attempt(folder: Path) -> None:
        attach.write_order(folder, order, settings)
        command = [sys.executable, "-P", "-m", "worker.supervisor", str(folder)]
        subprocess.run(command, check=True, env=attach.child_variables(), cwd="/")
        end = _end(folder)
        assert end.result is Result.SUCCESS, end
        attach.remove(folder)

    return attempt, attempt


def _repository(folder: Path) -> GitSource:
    folder.mkdir()
    (folder / "README").write_text("nothing but packages\n")
    identity = ["-c", "user.name=Ann", "-c", "user.email=ann@example.org"]
    for arguments in (["init", "-q"], ["add", "-A"], ["commit", "-q", "-m", "Begin"]):
        subprocess.run(["git", *identity, *arguments], cwd=folder, check=True)
    done = subprocess.run(
        ["git", "rev-parse", "HEAD"], cwd=folder, check=True, stdout=subprocess.PIPE
    )
    return GitSource(repository=os.fspath(folder), commit=done.stdout.decode().strip())


def _end(folder: Path) -> Ended:
    reader = SpoolReader(folder)
    try:
        [last] = decode_from_worker(list(reader.read_from(1, 2**30))[-1])
    finally:
        reader.close()
    assert isinstance(last, Report) and isinstance(last.body, Ended)
    return last.body

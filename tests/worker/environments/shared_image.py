"""One image that all tests share, because making one takes half a minute."""

from __future__ import annotations

import os
from pathlib import Path
from shutil import which
from unittest import TestCase

from tests.requirements import require
from worker.environments import own_root
from worker.environments.images import Image, Images

_FOLDER = Path(os.environ.get("HEADRACE_TEST_IMAGES", "/var/cache/headrace-test-images"))
#: An ordinary user's images are its own.
_OF_USER = Path.home() / ".cache" / "headrace-test-images"


def own_series() -> str:
    """The Debian series of this machine, or nothing."""
    release = Path("/etc/os-release").read_text().splitlines()
    fields = dict(line.partition("=")[::2] for line in release)
    return fields.get("VERSION_CODENAME", "") if fields.get("ID") == "debian" else ""


def require_chroots(test: TestCase) -> None:
    """Skip ``test`` where no image could be made."""
    require(test, os.geteuid() == 0, "chroots need root")
    require(test, which("mmdebstrap") is not None, "this machine lacks mmdebstrap")
    require(test, own_series() != "", "images are made of Debian, which this machine isn't")


def users_images(test: TestCase) -> Path:
    """The folder of an ordinary user's images, with that of this machine's series."""
    why = own_root.why_not() if os.geteuid() != 0 else "this is root, not an ordinary user"
    require(test, not why, why)
    require(test, which("mmdebstrap") is not None, "this machine lacks mmdebstrap")
    require(test, own_series() != "", "images are made of Debian, which this machine isn't")
    folder = Path(os.environ.get("HEADRACE_TEST_IMAGES", _OF_USER))
    folder.mkdir(parents=True, exist_ok=True)
    images = Images(folder, {})
    if images.find(own_series()) is None:
        images.build(own_series(), lambda line: None)
    return folder


def shared_image(test: TestCase) -> Image:
    """The image of this machine's series, made if it isn't there."""
    require_chroots(test)
    images = Images(_FOLDER, {})
    return images.find(own_series()) or images.build(own_series(), lambda line: None)


def shared_series(test: TestCase, series: str) -> Image:
    """The image of another Debian series, made if it isn't there."""
    require_chroots(test)
    images = Images(_FOLDER, {})
    return images.find(series) or images.build(series, lambda line: None)


def shared_images_folder() -> Path:
    """The folder for ``Images`` that has what ``shared_image`` made."""
    return _FOLDER

"""Which environment a pipeline job gets: as the order isolates it, for its series."""

from __future__ import annotations

import os
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from fnmatch import fnmatchcase
from pathlib import Path
from typing import TYPE_CHECKING

from protocol.order import Order
from worker.environments.interface import IEnvironment
from worker.environments.limits import Limits
from worker.supervisor.endings import CannotRun
from worker.supervisor.settings import Settings

if TYPE_CHECKING:
    from worker.environments.images import Image, Images
    from worker.environments.layers import Layer
    from worker.environments.store import Held

#: What an environment may take if the operator does not say.
PROCESSES = 4096
DISK = 20 * 1024**3
MACHINE_MEMORY = 1024**3


@dataclass(frozen=True, kw_only=True)
class Site:
    """Where and for what an environment is made."""

    order: Order
    settings: Settings
    series: str
    isolation: str
    folder: Path
    say: Callable[[str], None]  #: hears how far it is
    #: Answers the layer that has what the first job needs, upon an image; or none.
    layer: Callable[[Image], Layer | None] = lambda image: None


#: Makes an environment.
Make = Callable[[Site], IEnvironment]


def make(site: Site) -> IEnvironment:
    """An environment, not yet prepared, or `CannotRun` if this worker has none such.

    An image that is missing is made now, which takes long.
    """
    settings, isolation = site.settings, site.isolation
    if isolation == "native":
        from worker.environments.native import Native

        if not site.order.trusted:
            raise CannotRun("code that is not trusted never runs natively", final=True)
        return Native(site.folder, say=site.say, limits=native_limits(settings))
    if isolation == "chroot" and settings.containers == "lxd":
        return _container(site)
    if isolation == "chroot" and settings.images is not None:
        from worker.environments.chroot import Chroot

        image, held = _image(Path(settings.images), site)
        layer = site.layer(image)
        return Chroot(
            image.path,
            site.folder,
            say=site.say,
            network=settings.network,
            layers=() if layer is None else (layer.path,),
            installed=() if layer is None else layer.packages,
            held=(held,) if layer is None else (held, layer.held),
            limits=limits(settings),
        )
    if isolation == "vm" and settings.images is not None:
        from worker.environments.vm import VirtualMachine

        image, held = _image(Path(settings.images), site)
        layer = site.layer(image)
        return VirtualMachine(
            image.path,
            site.folder,
            images=Path(settings.images),
            architecture=site.order.architecture,
            say=site.say,
            network=settings.network,
            layers=() if layer is None else (layer.path,),
            installed=() if layer is None else layer.packages,
            held=(held,) if layer is None else (held, layer.held),
            limits=machine_limits(settings),
        )
    raise CannotRun(f"this worker cannot make a {isolation} for {site.series}")


def _container(site: Site) -> IEnvironment:
    from worker.environments.lxd import Container, program

    settings = site.settings
    client = program()
    if client is None or settings.images is None:
        raise CannotRun(
            "this worker's operator wants containers of LXD, and neither incus nor lxc "
            "answers on its machine"
        )
    image, held = _image(Path(settings.images), site)
    return Container(
        image.path,
        site.folder,
        say=site.say,
        client=client,
        network=settings.network,
        held=(held,),
        limits=limits(settings),
    )


def isolation_of(order: Order, settings: Settings, name: str) -> str:
    """How the pipeline job ``name`` is isolated: as its build is, or better."""
    if order.isolation == "chroot" and any(
        fnmatchcase(name, pattern) for pattern in settings.vm_jobs
    ):
        return "vm"
    return order.isolation


def machine_limits(settings: Settings) -> Limits:
    """What a virtual machine may take: its memory is taken as soon as it is used."""
    return Limits(
        memory=settings.memory_limit or MACHINE_MEMORY,
        processes=settings.process_limit or PROCESSES,
        processors=settings.processor_limit,
        disk=settings.disk_limit or DISK,
    )


def limits(settings: Settings) -> Limits:
    """What a chroot may take."""
    memory = settings.memory_limit
    if memory is None:
        memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") * 4 // 5
    return Limits(
        memory=memory,
        processes=settings.process_limit or PROCESSES,
        processors=settings.processor_limit,
        disk=settings.disk_limit or DISK,
    )


def native_limits(settings: Settings) -> Limits:
    """What a native build may take: all there is, unless the operator said otherwise."""
    return Limits(
        memory=settings.memory_limit,
        processes=settings.process_limit,
        processors=settings.processor_limit,
        disk=settings.disk_limit,
    )


def _make_all_at_once(images: Images, site: Site) -> None:
    """Make the images for all series of the build: an ordinary user's later ones can't be.

    It is in a namespace of its own from its first chroot on, where no image can be made.
    """
    from worker.environments.bootstrap import NoImage

    every = {job.series for jobs in site.order.jobs.values() for job in jobs}
    for series in sorted(every - {site.series}):
        if images.find(series) is None and images.may_build(series):
            with suppress(NoImage):  # the job that wants it will say so
                images.build(series, site.say)


def _image(folder: Path, site: Site) -> tuple[Image, Held]:
    from worker.environments.bootstrap import NoImage
    from worker.environments.budget import trim_images
    from worker.environments.images import Images

    asked, own = site.order.architecture, site.settings.architecture
    foreign = asked if own not in ("", asked) else None
    images = Images(folder, site.settings.series_images, foreign)
    if os.geteuid() != 0:
        _make_all_at_once(images, site)
    image = images.find(site.series)
    if image is None and not images.may_build(site.series):
        raise CannotRun(
            f"this worker has no image for {site.series}, and its operator has not named "
            "one in series_images",
            final=True,
        )
    try:
        if image is None:
            image = images.build(site.series, site.say)
            trim_images(folder, site.settings.cache_limit)
        site.say(f"-- image: {image.name} {image.digest}")
        return image, images.hold(image)
    except NoImage as error:
        raise CannotRun(f"this worker has no image for {site.series}: {error}") from error

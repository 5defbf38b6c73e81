"""Which environment a pipeline job gets: as the order isolates it, for its series."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from protocol.order import Order
from worker.environments.interface import IEnvironment
from worker.supervisor.endings import CannotRun
from worker.supervisor.settings import Settings

#: Makes the environment of a series in a folder; it says its progress to the function.
Make = Callable[[Order, Settings, str, Path, Callable[[str], None]], IEnvironment]


def make(
    order: Order,
    settings: Settings,
    series: str,
    folder: Path,
    say: Callable[[str], None],
) -> IEnvironment:
    """An environment, not yet prepared, or `CannotRun` if this worker has none such.

    An image that is missing is made now, which takes long.
    """
    if order.isolation == "native":
        from worker.environments.native import Native

        return Native(folder, say=say)
    if order.isolation == "chroot" and settings.images is not None:
        from worker.environments.chroot import Chroot

        image = _image(Path(settings.images), settings, series, say)
        return Chroot(image, folder, say=say, network=settings.network)
    raise CannotRun(f"this worker cannot make a {order.isolation} for {series}")


def _image(
    folder: Path, settings: Settings, series: str, say: Callable[[str], None]
) -> Path:
    from worker.environments.bootstrap import NoImage
    from worker.environments.images import Images

    images = Images(folder, settings.series_images)
    image = images.find(series)
    if image is None and not images.may_build(series):
        raise CannotRun(
            f"this worker has no image for {series}, and its operator has not named one "
            "in series_images",
            final=True,
        )
    try:
        return (image or images.build(series, say)).path
    except NoImage as error:
        raise CannotRun(f"this worker has no image for {series}: {error}") from error

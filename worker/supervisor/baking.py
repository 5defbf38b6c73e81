"""Baking: a job's packages put into a layer once, so that the next time none is installed.

A layer serves every build that wants the same packages, so nothing of a job takes part in
making it: neither its files nor its variables, and no archive of its own.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from protocol.pipeline.model import PipelineJob
from worker.environments.images import Image
from worker.environments.interface import IEnvironment
from worker.environments.layers import Additions, Layer, Layers
from worker.environments.limits import Limits
from worker.supervisor.rendering import needs_secrets
from worker.supervisor.settings import Settings

#: Variables by which a job could mean to change how its packages are installed.
_ABOUT_INSTALLING = ("APT_", "DEB", "DPKG", "UCF_", "PATH")

#: Runs a command of an installation in an environment, to its end; raises if it failed.
RunCommand = Callable[[IEnvironment, list[str], Mapping[str, str]], None]


def can_bake(settings: Settings, job: PipelineJob, packages: Sequence[str]) -> bool:
    """Whether ``packages`` of ``job`` can come from a layer."""
    lines = (*settings.package_repositories, *settings.replace_package_repositories)
    variables = job.environment or {}
    return (
        bool(packages)
        and settings.network
        and settings.package_layer_age > 0
        and not job.package_repositories
        and not any(needs_secrets(line) for line in lines)
        and not any(name.startswith(_ABOUT_INSTALLING) for name in variables)
        and not any("proxy" in name.lower() for name in variables)
    )


class Baking:
    """Finds layers, and makes those that are missing, in the build's own folder."""

    def __init__(
        self, settings: Settings, say: Callable[[str], None], run: RunCommand
    ) -> None:
        self._settings = settings
        self._say = say
        self._run = run

    def layer(self, image: Image, packages: Sequence[str], folder: Path) -> Layer | None:
        """The layer upon ``image`` that has ``packages``; ``folder`` is for making it."""
        settings = self._settings
        assert settings.images is not None
        layers = Layers(Path(settings.images), settings.package_layer_age)
        additions = Additions(
            image=image,
            packages=tuple(sorted(set(packages))),
            sources=(
                *settings.replace_package_repositories,
                *settings.package_repositories,
            ),
            instead=bool(settings.replace_package_repositories),
        )
        found = layers.find(additions)
        if found is None:
            found = layers.make(additions, lambda to: self._bake(additions, folder, to))
        if found is not None:
            self._say(f"-- packages: {' '.join(packages)} (layer {found.key[:12]})")
        return found

    def _bake(self, additions: Additions, folder: Path, to: Path) -> None:
        from worker.environments.chroot import Chroot
        from worker.supervisor.installing import clear_sources

        # Programs of the operator's archives, whom a limit would only surprise.
        chroot = Chroot(additions.image.path, folder, say=self._say, limits=Limits())
        variables = {**chroot.variables, **self._settings.environment}
        try:
            chroot.prepare()
            chroot.begin()
            if additions.instead:
                clear_sources(chroot)
            for argv in chroot.install(additions.packages, additions.sources):
                self._run(chroot, argv, variables)
            self._run(chroot, ["apt-get", "clean"], variables)
            chroot.end()
            chroot.keep_changes(to)
        finally:
            chroot.destroy()

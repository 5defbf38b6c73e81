"""Plugins: what naming one adds to a pipeline job."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from protocol.pipeline.model import PipelineJob
from worker.supervisor import recipes
from worker.supervisor.endings import Malformed


@dataclass(frozen=True, kw_only=True)
class Addition:
    """What a plugin adds."""

    packages: tuple[str, ...] = ()
    environment: Mapping[str, str] = field(default_factory=dict)
    run: str = ""  #: taken if the job has no `run` of its own
    is_complete: bool = False  #: does something even if the job itself has no `run`
    #: Put before, and after, what the job itself says for each key.
    before: Mapping[str, str] = field(default_factory=dict)

    def steps(self, job: PipelineJob) -> tuple[tuple[str, str], ...]:
        """(key, text) of run-before, run and run-after; those without text left out."""
        texts = {
            "run-before": job.run_before,
            "run": job.run or self.run,
            "run-after": job.run_after,
        }
        joined = {
            key: "\n".join(filter(None, (self.before.get(key), text)))
            for key, text in texts.items()
        }
        return tuple((key, text) for key, text in joined.items() if text)


@dataclass(frozen=True, kw_only=True)
class Named:
    """A job that names a plugin, and what the plugin may look at."""

    who: str  #: the job's title
    job: PipelineJob
    source: Path  #: the project as it was fetched
    settings: Mapping[str, str]  #: the operator's, for plugins

    def option(self, key: str) -> Any:
        """What the job sets ``key``, one of the plugin's own, to; None if nothing."""
        return (self.job.plugin_config or {}).get(key)


def addition(named: Named) -> Addition:
    """What the job's plugin adds, if it has one; `Malformed` for one nobody knows."""
    name = named.job.plugin
    if name is None:
        return Addition()
    if name not in _PLUGINS:
        raise Malformed(
            f"`plugin` of {named.who} is {name}, which this farm does not know; it knows "
            f"{', '.join(sorted(_PLUGINS))}"
        )
    return _PLUGINS[name](named)


#: Debian's own Python refuses pip's installations unless told; others ignore this.
_PIP = {"PIP_BREAK_SYSTEM_PACKAGES": "1"}


def _tox(named: Named) -> Addition:
    return Addition(
        packages=("python3-pip",),
        environment={"TOX_TESTENV_PASSENV": "http_proxy https_proxy", **_PIP},
        run="python3 -m pip install tox==3.24.5\ntox",
    )


def _pyproject_build(named: Named) -> Addition:
    return Addition(
        packages=("python3-pip", "python3-venv"),
        environment=_PIP,
        run="python3 -m pip install build==0.7.0\npython3 -m build",
    )


def _golang(named: Named) -> Addition:
    version = _text(named, "golang-version")
    if not version:
        raise Malformed(f"`golang-version` of {named.who} is missing")
    path = f'export PATH={shlex.quote(f"/usr/lib/go-{version}/bin")}:"$PATH"'
    return Addition(packages=(f"golang-{version}",), before=_wherever(named, path))


_CONDA_PACKAGES = ("git", "python3-dev", "python3-pip", "python3-venv", "wget")
_TOOLCHAIN = (
    "automake",
    "build-essential",
    "cmake",
    "gcc",
    "g++",
    "libc++-dev",
    "libc6-dev",
    "libffi-dev",
    "libjpeg-dev",
    "libpng-dev",
    "libreadline-dev",
    "libsqlite3-dev",
    "libtool",
    "zlib1g-dev",
)

#: Conda's own environment is left alone: it needs the Python that it came with.
_CONDA_PATH = """\
export CONDA_PREFIX="$HOME/miniconda3/envs/$CONDA_ENV"
export PATH="$CONDA_PREFIX/bin:$HOME/miniconda3/bin:$PATH\""""

_CONDA_FETCH = """\
if [ ! -d "$HOME/miniconda3" ]; then
    wget -q -O /tmp/miniconda.sh {url}
    bash /tmp/miniconda.sh -b -p "$HOME/miniconda3"
    rm /tmp/miniconda.sh
fi"""
_CONDA_MISSING = """\
if [ ! -d "$HOME/miniconda3" ]; then
    echo "There is no $HOME/miniconda3, and this worker's operator has not said where its \
installer is: set miniconda_installer in plugin_settings" >&2
    exit 1
fi"""
_CONDA_CREATE = """\
[ -d "$CONDA_PREFIX/conda-meta" ] || conda create -q -y -p "$CONDA_PREFIX\""""


def _miniconda(named: Named) -> Addition:
    return _conda(named, packages=_CONDA_PACKAGES, tool="pip")


def _conda_build(named: Named) -> Addition:
    base = _conda(named, packages=(*_CONDA_PACKAGES, *_TOOLCHAIN), tool="conda-build")
    folder = _text(named, "recipe-folder") or "./info"
    target = _text(named, "build-target")
    if not target:
        key = f"`plugin: conda-build` of {named.who}"
        target = recipes.target(named.source, folder, key)
    command = [
        *("conda-build", "--no-anaconda-upload", "--output-folder", "dist"),
        *_each("-c", _channels(named)),
        *_each("-m", recipes.configurations(named.source, folder)),
        target,
    ]
    build = "\n".join([base.before["run"], shlex.join(command)])
    return Addition(
        packages=base.packages,
        environment=base.environment,
        is_complete=True,
        before={**base.before, "run": build},
    )


def _conda(named: Named, *, packages: tuple[str, ...], tool: str) -> Addition:
    url = named.settings.get("miniconda_installer")
    fetch = _CONDA_FETCH.format(url=shlex.quote(url)) if url else _CONDA_MISSING
    version = _text(named, "conda-python") or "3.8"
    wanted = sorted({*_texts(named, "conda-packages"), f"PYTHON={version}", tool})
    install = ["conda", "install", "-q", "-y", *_each("-c", _channels(named)), *wanted]
    return Addition(
        packages=packages,
        environment={"CONDA_ENV": "lpci"},
        before={
            "run-before": "\n".join(
                [fetch, _CONDA_PATH, _CONDA_CREATE, shlex.join(install)]
            ),
            "run": _CONDA_PATH,
            "run-after": f"{_CONDA_PATH}\nconda env export",
        },
    )


def _channels(named: Named) -> list[str]:
    """The job's channels, then the usual ones, then the operator's; none of them twice."""
    operators = named.settings.get("miniconda_conda_channel")
    given = _texts(named, "conda-channels")
    more = ["defaults", *([operators] if operators else [])]
    return [*given, *(each for each in dict.fromkeys(more) if each not in given)]


def _each(option: str, values: list[str]) -> list[str]:
    return [word for value in values for word in (option, value)]


def _wherever(named: Named, text: str) -> dict[str, str]:
    """``text`` for those keys that the job itself sets."""
    job = named.job
    said = {"run-before": job.run_before, "run": job.run, "run-after": job.run_after}
    return {key: text for key, own in said.items() if own}


def _text(named: Named, key: str) -> str:
    value = named.option(key)
    if value is not None and not isinstance(value, str):
        raise Malformed(f"`{key}` of {named.who} is no text")
    return value or ""


def _texts(named: Named, key: str) -> list[str]:
    value = named.option(key) or []
    if not isinstance(value, list) or not all(isinstance(each, str) for each in value):
        raise Malformed(f"`{key}` of {named.who} is no list of texts")
    return value


_PLUGINS: dict[str, Callable[[Named], Addition]] = {
    "tox": _tox,
    "pyproject-build": _pyproject_build,
    "golang": _golang,
    "miniconda": _miniconda,
    "conda-build": _conda_build,
}

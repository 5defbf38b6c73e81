"""Virtual environments of the peers, made once and kept in a cache folder."""

from __future__ import annotations

import fcntl
import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

from benchmarks.processes import Processes
from benchmarks.progress import say

#: What each peer needs, to the version: a figure is of one version.
REQUIREMENTS = {
    "pgqueuer": ("pgqueuer==1.6.0", "asyncpg==0.32.0", "uvloop==0.23.0"),
    "procrastinate": ("procrastinate==3.10.0", "psycopg[binary]==3.3.9"),
    "dbos": ("dbos==3.4.0",),
    "buildbot": (
        "buildbot[bundle]==4.3.0",
        "buildbot-worker==4.3.0",
        "psycopg2-binary",
        "requests",
        "websocket-client",
    ),
}


def cache_folder() -> Path:
    """Where they are kept."""
    base = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(base) / "headrace-benchmarks"


async def installed(processes: Processes, peer: str) -> Path:
    """The folder of ``peer``'s virtual environment, made if it is not there yet.

    Raises `benchmarks.processes.ProcessFailed` with pip's last words.
    """
    requirements = REQUIREMENTS[peer]
    home = cache_folder() / f"{peer}-{_digest(requirements)}"
    home.mkdir(parents=True, exist_ok=True)
    done = home / "complete"
    lock = os.open(home / "lock", os.O_CREAT | os.O_RDWR, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not done.exists():
            say(f"installing {requirements[0]} into {home}")
            await _install(processes, home / "venv", requirements)
            done.touch()
    finally:
        os.close(lock)
    return home / "venv"


def environ() -> dict[str, str]:
    """Variables for what runs in such an environment: nothing that leads into ours."""
    ours = ("PYTHON", "VIRTUAL_ENV", "HEADRACE_", "PG")
    return {k: v for k, v in os.environ.items() if not k.startswith(ours)}


async def _install(processes: Processes, venv: Path, requirements: Sequence[str]) -> None:
    shutil.rmtree(venv, ignore_errors=True)
    await processes.run([sys.executable, "-m", "venv", str(venv)], environ())
    pip = [str(venv / "bin" / "python"), "-m", "pip", "--disable-pip-version-check"]
    await processes.run([*pip, "-q", "install", *requirements], environ(), timeout=900)


def _digest(requirements: Sequence[str]) -> str:
    text = "\n".join((sys.version, *requirements))
    return hashlib.sha256(text.encode()).hexdigest()[:12]

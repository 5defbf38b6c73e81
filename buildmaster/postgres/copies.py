"""Copies the programs that a wheel carries to where PostgreSQL's account can run them.

Root's own checkout, with its virtual environment and the wheel in there, lies below
``/root`` as a rule, and no other account can pass to that.
"""

from __future__ import annotations

import fcntl
import secrets
import shutil
import stat
from hashlib import sha256
from pathlib import Path

from buildmaster.postgres.placement import make_open

#: A folder for each version of the programs; root's, and open to all who may read.
COPIES = Path("/var/lib/headrace/programs")


def reachable_copy(programs: Path, package: Path, copies: Path = COPIES) -> Path:
    """As the folder ``programs`` of the installed ``package``, but open; made if need be.

    Only for root: what others could write there, PostgreSQL's account would run. Raises
    OSError, or `Unplaceable` if ``copies`` is not ours alone to write to.
    """
    digest = sha256((programs / "postgres").read_bytes()).hexdigest()[:16]
    inside = programs.parent.relative_to(package.parent)
    copy = copies / f"{inside.name}-{digest}"
    make_open(copies)
    with open(copies / ".lock", "wb") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not copy.exists():
            for unfinished in copies.glob(".new-*"):
                shutil.rmtree(unfinished, ignore_errors=True)
            new = copies / f".new-{secrets.token_hex(4)}"
            shutil.copytree(programs.parent, new / inside, symlinks=True)
            # The programs find their libraries by the way from one to the other.
            libraries = package.with_name(f"{package.name}.libs")
            if libraries.is_dir():
                shutil.copytree(libraries, new / libraries.name, symlinks=True)
            _open(new)
            new.rename(copy)
    return copy / inside / programs.name


def _open(tree: Path) -> None:
    """Let everybody read and run, and root alone write, whatever the umask was."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = stat.S_IMODE(path.stat().st_mode)
            runs = path.is_dir() or mode & stat.S_IXUSR
            path.chmod(0o755 if runs else 0o644)

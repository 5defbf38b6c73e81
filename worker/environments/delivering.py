"""Files on their way into a virtual machine, and out of it: a frame for each step."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

from worker.environments.interface import BadPath, EnvironmentFault
from worker.environments.line import listed, words

_PIECE = 256 * 1024
_DEEPEST = 201


def entries(local: Path) -> Iterator[tuple[bytes, bytes]]:
    """Frames for all of ``local``; BadPath, before the first, for what is no file."""
    _check(local)
    return _entries(local, b"")


def _check(local: Path) -> None:
    mode = local.lstat().st_mode
    if stat.S_ISDIR(mode):
        for child in local.iterdir():
            _check(child)
    elif not (stat.S_ISREG(mode) or stat.S_ISLNK(mode)):
        raise BadPath(
            f"{local} is neither a plain file nor a folder; devices, sockets and named "
            "pipes can't be kept."
        )


def _entries(local: Path, name: bytes) -> Iterator[tuple[bytes, bytes]]:
    found = local.lstat()
    mode, time = str(found.st_mode & 0o777), str(int(found.st_mtime))
    if stat.S_ISLNK(found.st_mode):
        yield b"l", listed([name, mode, time, os.readlink(os.fsencode(local))])
    elif stat.S_ISDIR(found.st_mode):
        yield b"d", listed([name, mode])
        for child in sorted(local.iterdir()):
            inner = os.fsencode(child.name)
            yield from _entries(child, name + b"/" + inner if name else inner)
    else:
        yield b"f", listed([name, mode, time])
        with local.open("rb") as file:
            while data := file.read(_PIECE):
                yield b"w", data


class Delivery:
    """Takes frames that a machine sends, and makes files below one path of them.

    Whatever they say, nothing is made elsewhere.
    """

    def __init__(self, target: Path) -> None:
        target.parent.mkdir(parents=True, exist_ok=True)
        self._target = target
        self._file: int | None = None

    def take(self, kind: bytes, rest: bytes) -> None:
        """The next frame."""
        if kind == b"w" and self._file is not None:
            view = memoryview(rest)
            while view:
                view = view[os.write(self._file, view) :]
            return
        told = words(rest)
        if kind == b"d" and len(told) == 2:
            self._make_folder(self._path(told[0]), _mode(told[1]))
        elif kind == b"f" and len(told) == 3:
            self._make_file(self._path(told[0]), _mode(told[1]))
        else:
            raise EnvironmentFault("The virtual machine sent files that make no sense.")

    def close(self) -> None:
        """No frame follows."""
        if self._file is not None:
            os.close(self._file)
            self._file = None

    def _path(self, name: bytes) -> Path:
        """Where ``name`` is to be; nothing but what came before leads there."""
        if not name:
            return self._target
        parts = name.split(b"/")
        bad = (b"", b".", b"..")
        if any(part in bad or b"\0" in part for part in parts) or len(parts) > _DEEPEST:
            raise EnvironmentFault("The virtual machine sent an impossible name.")
        return self._target / os.fsdecode(name)

    def _make_folder(self, path: Path, mode: int) -> None:
        self.close()
        if not (path.is_dir() and not path.is_symlink()):
            path.unlink(missing_ok=True)
            path.mkdir()
        path.chmod(mode | stat.S_IRWXU)

    def _make_file(self, path: Path, mode: int) -> None:
        self.close()
        if path.is_dir():
            raise BadPath(f"There is a folder at {path.name}; no file can take its place.")
        path.unlink(missing_ok=True)
        flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        self._file = os.open(path, flags, 0o600)
        os.fchmod(self._file, mode)


def _mode(text: bytes) -> int:
    if not text.isdigit():
        raise EnvironmentFault("The virtual machine sent files that make no sense.")
    return int(text) & 0o777

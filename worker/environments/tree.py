"""Files in an environment, reached without following a link out of it.

Whoever made the names, links and file types in there may be hostile, and may be changing
them at this moment.  So every component of a path is opened by itself, relative to the
folder before it and never through a link; links are read and resolved here.
"""

from __future__ import annotations

import errno
import os
import stat
from collections import deque
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from worker.environments.interface import BadPath
from worker.environments.traces import remove_below

#: Linux follows as many links in one path.
_MOST_LINKS = 40
#: Every level holds two descriptors open while a folder is copied.
_DEEPEST = 200

_NODE = os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC
_FOLDER = _NODE | os.O_DIRECTORY
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC


class Tree:
    """A file system below one folder.

    ``descriptor`` is the folder; ``prefix`` is the path by which its inhabitants call it.
    Where that is ``/``, ``..`` ends there as it does in a chroot; elsewhere, absolute
    paths to other places and too many ``..`` are refused.
    """

    def __init__(self, descriptor: int, prefix: str = "/") -> None:
        self._descriptor = descriptor
        self._prefix = os.fsencode(prefix).rstrip(b"/")

    def close(self) -> None:
        """Let go of the folder."""
        os.close(self._descriptor)

    def resolve(self, inside: str) -> str:
        """The path that ``inside`` leads to, free of links; BadPath if there is nothing."""
        names, node = self._find(inside)
        os.close(node)
        return os.fsdecode(b"/".join([self._prefix, *names]) or b"/")

    def files(self, inside: str) -> list[str]:
        """Paths relative to the folder ``inside`` of all below it that is no folder."""
        with self._folder(inside) as folder:
            return [os.fsdecode(path) for path in _below(folder, b"", 0)]

    def read(self, inside: str) -> bytes:
        """The content of a plain file."""
        _, node = self._find(inside)
        try:
            with os.fdopen(_open_plain(node, inside), "rb") as stream:
                return stream.read()
        finally:
            os.close(node)

    def write(self, inside: str, content: bytes, mode: int = 0o644) -> None:
        """Make or replace a file, and the folders that lead to it."""
        with self._parent(inside) as (folder, name):
            _make_way(folder, name, inside)
            with os.fdopen(os.open(name, _NEW, mode, dir_fd=folder), "wb") as stream:
                os.fchmod(stream.fileno(), mode)
                stream.write(content)

    def make_folder(self, inside: str, owner: tuple[int, int] | None = None) -> None:
        """Make a folder, and those that lead to it, where there is none."""
        _, node = self._find(inside, make=True)
        try:
            if owner is not None:
                os.chown(f"/proc/self/fd/{node}", *owner)
        finally:
            os.close(node)

    def remove(self, inside: str) -> None:
        """Remove a file, or a folder with all it holds, if it is there."""
        with self._parent(inside) as (folder, name):
            remove_below(folder, name)

    def link(self, inside: str, target: str) -> None:
        """Make or replace a symbolic link."""
        with self._parent(inside) as (folder, name):
            _make_way(folder, name, inside)
            os.symlink(target, name, dir_fd=folder)

    def push(self, local: Path, inside: str, owner: tuple[int, int] | None = None) -> None:
        """Copy ``local`` to ``inside``; links are copied as such."""
        node = os.open(local, _NODE)
        try:
            with self._parent(inside) as (folder, name):
                _Push(owner).copy(node, folder, name, inside, 0)
        finally:
            os.close(node)

    def pull(self, inside: str, local: Path) -> None:
        """Copy ``inside`` to ``local``; files that links lead to are copied."""
        names, node = self._find(inside)
        local.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(local.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            name = os.fsencode(local.name)
            _Pull(self).copy(node, folder, name, b"/".join(names), 0)
        finally:
            os.close(folder)
            os.close(node)

    @contextmanager
    def _folder(self, inside: str) -> Iterator[int]:
        _, node = self._find(inside)
        try:
            if not stat.S_ISDIR(os.fstat(node).st_mode):
                raise BadPath(f"{_shown(inside)} is not a folder.")
            yield node
        finally:
            os.close(node)

    @contextmanager
    def _parent(self, inside: str) -> Iterator[tuple[int, bytes]]:
        """The folder for the last name of ``inside``, made if needed; and that name.

        If there is a link of that name it isn't followed.
        """
        path, _, name = os.fsencode(inside).rstrip(b"/").rpartition(b"/")
        if name in (b"", b".", b".."):
            raise BadPath(f"{_shown(inside)} names no file.")
        _, node = self._find(os.fsdecode(path or b"/"), make=True)
        try:
            if not stat.S_ISDIR(os.fstat(node).st_mode):
                raise BadPath(f"{_shown(inside)} leads through what is not a folder.")
            yield node, name
        finally:
            os.close(node)

    def _find(self, inside: str, make: bool = False) -> tuple[list[bytes], int]:
        """Names without links from the top to what ``inside`` leads to; its descriptor."""
        if "\0" in inside:
            raise BadPath("A path holds a null byte.")
        rest = deque(self._relative(os.fsencode(inside), inside))
        names: list[bytes] = []
        node = os.dup(self._descriptor)
        links = 0
        try:
            while rest:
                name = rest.popleft()
                if name == b"..":
                    if not names and self._prefix:
                        raise BadPath(f"{_shown(inside)} leads out of the environment.")
                    names = names[:-1]
                    node = _swap(node, self._reopen(names))
                    continue
                found = _open_child(node, name, inside, make)
                target = _link_target(found)
                if target is None:
                    names.append(name)
                    node = _swap(node, found)
                    continue
                os.close(found)
                links += 1
                if links > _MOST_LINKS:
                    raise BadPath(f"{_shown(inside)} leads round in a circle.")
                if target.startswith(b"/"):
                    names = []
                    node = _swap(node, os.dup(self._descriptor))
                    rest.extendleft(reversed(self._relative(target, inside)))
                else:
                    rest.extendleft(reversed(_split(target)))
            return names, node
        except BaseException:
            os.close(node)
            raise

    def _relative(self, path: bytes, inside: str) -> list[bytes]:
        if (
            self._prefix
            and path != self._prefix
            and not path.startswith(self._prefix + b"/")
        ):
            raise BadPath(f"{_shown(inside)} leads out of the environment.")
        if not path.startswith(b"/"):
            raise BadPath(f"{_shown(inside)} is not an absolute path.")
        return _split(path[len(self._prefix) :])

    def _reopen(self, names: list[bytes]) -> int:
        node = os.dup(self._descriptor)
        for name in names:
            try:
                node = _swap(node, os.open(name, _FOLDER, dir_fd=node))
            except OSError as error:
                os.close(node)
                raise BadPath(f"A folder changed while it was read: {error}.") from None
        return node


class _Copy:
    """Copies a file or a folder."""

    def __init__(self, owner: tuple[int, int] | None = None) -> None:
        self._owner = owner

    def copy(
        self, node: int, folder: int, name: bytes, path: str | bytes, depth: int
    ) -> None:
        """Copy ``node`` to ``name`` in ``folder``; ``path`` is for messages and links."""
        found = os.fstat(node)
        if stat.S_ISDIR(found.st_mode):
            self._copy_folder(node, folder, name, path, depth)
        elif stat.S_ISLNK(found.st_mode):
            self.copy_link(node, folder, name, path)
        else:
            self.copy_plain(node, folder, name, path)

    def copy_link(self, node: int, folder: int, name: bytes, path: str | bytes) -> None:
        raise NotImplementedError

    def copy_plain(self, node: int, folder: int, name: bytes, path: str | bytes) -> None:
        source = _open_plain(node, path)
        try:
            found = os.fstat(source)
            _make_way(folder, name, path)
            target = os.open(name, _NEW, 0o600, dir_fd=folder)
            try:
                while os.sendfile(target, source, None, 1 << 30):
                    pass
                if self._owner is not None:
                    os.fchown(target, *self._owner)
                os.fchmod(target, found.st_mode & 0o777)
                os.utime(target, ns=(found.st_atime_ns, found.st_mtime_ns))
            finally:
                os.close(target)
        finally:
            os.close(source)

    def _copy_folder(
        self, node: int, folder: int, name: bytes, path: str | bytes, depth: int
    ) -> None:
        if depth > _DEEPEST:
            raise BadPath(f"{_shown(path)} is nested deeper than {_DEEPEST} folders.")
        target = self._open_target(folder, name, path)
        try:
            # O_PATH descriptors can't be listed.
            source = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=node)
            try:
                for child in map(os.fsencode, os.listdir(source)):
                    found = _open_child(source, child, path, make=False)
                    try:
                        deeper = os.fsencode(path) + b"/" + child
                        self.copy(found, target, child, deeper, depth + 1)
                    finally:
                        os.close(found)
                mode = os.fstat(source).st_mode & 0o777
            finally:
                os.close(source)
            if self._owner is not None:
                os.chown(f"/proc/self/fd/{target}", *self._owner)
            os.chmod(f"/proc/self/fd/{target}", mode)
        finally:
            os.close(target)

    def _open_target(self, folder: int, name: bytes, path: str | bytes) -> int:
        with suppress(OSError):
            return os.open(name, _FOLDER, dir_fd=folder)
        _make_way(folder, name, path)
        os.mkdir(name, 0o700, dir_fd=folder)
        return os.open(name, _FOLDER, dir_fd=folder)


class _Push(_Copy):
    def copy_link(self, node: int, folder: int, name: bytes, path: str | bytes) -> None:
        _make_way(folder, name, path)
        os.symlink(_target(node), name, dir_fd=folder)
        if self._owner is not None:
            os.chown(name, *self._owner, dir_fd=folder, follow_symlinks=False)


class _Pull(_Copy):
    def __init__(self, tree: Tree) -> None:
        super().__init__()
        self._tree = tree

    def copy_link(self, node: int, folder: int, name: bytes, path: str | bytes) -> None:
        inside = os.fsdecode(self._tree._prefix + b"/" + os.fsencode(path))
        try:
            _, found = self._tree._find(inside)
        except BadPath:
            return
        try:
            if not stat.S_ISDIR(os.fstat(found).st_mode):
                self.copy_plain(found, folder, name, path)
        finally:
            os.close(found)


def _below(folder: int, prefix: bytes, depth: int) -> Iterator[bytes]:
    if depth > _DEEPEST:
        raise BadPath(f"{_shown(prefix)} is nested deeper than {_DEEPEST} folders.")
    descriptor = os.open(".", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=folder)
    try:
        for entry in map(os.fsencode, sorted(os.listdir(descriptor))):
            path = prefix + entry
            try:
                child = os.open(entry, _FOLDER, dir_fd=descriptor)
            except NotADirectoryError:
                yield path
            except FileNotFoundError:
                continue
            else:
                try:
                    yield from _below(child, path + b"/", depth + 1)
                finally:
                    os.close(child)
    finally:
        os.close(descriptor)


def _open_plain(node: int, path: str | bytes) -> int:
    """Open for reading what ``node`` is, if it is a plain file: a pipe would block."""
    if not stat.S_ISREG(os.fstat(node).st_mode):
        raise BadPath(
            f"{_shown(path)} is neither a plain file nor a folder; devices, sockets and "
            "named pipes can't be kept."
        )
    return os.open(f"/proc/self/fd/{node}", os.O_RDONLY | os.O_CLOEXEC)


def _open_child(folder: int, name: bytes, path: str | bytes, make: bool) -> int:
    try:
        return os.open(name, _NODE, dir_fd=folder)
    except FileNotFoundError:
        if make:
            os.mkdir(name, 0o755, dir_fd=folder)
            return os.open(name, _NODE, dir_fd=folder)
        raise BadPath(f"There is nothing at {_shown(path)}.") from None
    except (NotADirectoryError, PermissionError) as error:
        raise BadPath(f"{_shown(path)} can't be reached: {error.strerror}.") from None
    except OSError as error:
        if error.errno == errno.ENAMETOOLONG:
            raise BadPath(f"{_shown(path)} holds a name that is too long.") from None
        raise


def _make_way(folder: int, name: bytes, path: str | bytes) -> None:
    try:
        os.unlink(name, dir_fd=folder)
    except FileNotFoundError:
        pass
    except IsADirectoryError:
        raise BadPath(
            f"There is a folder at {_shown(path)}; no file can take its place."
        ) from (None)


def _target(node: int) -> bytes:
    return os.readlink(b"", dir_fd=node)


def _link_target(node: int) -> bytes | None:
    return _target(node) if stat.S_ISLNK(os.fstat(node).st_mode) else None


def _split(path: bytes) -> list[bytes]:
    return [name for name in path.split(b"/") if name not in (b"", b".")]


def _swap(old: int, new: int) -> int:
    os.close(old)
    return new


def _shown(path: str | bytes) -> str:
    """``path`` for people: one line, whatever it holds."""
    text = os.fsdecode(path)
    return ascii(text)[1:-1] if not text.isprintable() or "\n" in text else text

"""The program behind ``headrace shell``: enters an environment that lingers here.

``python -m worker.supervisor.shell --builds DIR --attempt JOB-ATTEMPT [ARGV...]``; that it
may is for ``headrace shell`` to ask the farm, which notes who did. What runs in there gets
a terminal of its own, never the one that this program has: whoever holds a terminal can
type on it.
"""

from __future__ import annotations

import argparse
import fcntl
import os
import select
import signal
import socket
import sys
import termios
import threading
import tty
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import msgspec

from worker.supervisor.lingering import (
    SOCKET,
    Enter,
    Entered,
    Release,
    Turned,
    describe,
    lingers,
    read_note,
)

#: Exit status when there is no such environment on this machine.
NOT_HERE = 3
_SHELL = ("bash", "-i")
_BLOCK = 1 << 16


def main(arguments: Sequence[str] | None = None) -> int:
    """Enter, or let go; the exit status of what ran."""
    parser = argparse.ArgumentParser(prog="headrace shell")
    parser.add_argument("--builds", type=Path, action="append", required=True)
    parser.add_argument("--attempt", required=True, metavar="JOB-ATTEMPT")
    parser.add_argument("--root", action="store_true")
    parser.add_argument("--release", action="store_true")
    parser.add_argument("argv", nargs="*")
    chosen = parser.parse_args(arguments)
    folder = next((b / chosen.attempt for b in chosen.builds if _is_in(b, chosen)), None)
    if folder is None:
        return NOT_HERE
    try:
        line = _connect(folder)
    except OSError as error:
        print(f"headrace: Its environment cannot be entered: {error}.", file=sys.stderr)
        return 1
    with line:
        if chosen.release:
            line.sendall(msgspec.json.encode(Release()))
            line.recv(1)  # it is closed
            return 0
        if sys.stdin.isatty():
            print(describe(read_note(folder)), file=sys.stderr)
        return enter(line, chosen.argv or _SHELL, as_root=chosen.root)


def _is_in(builds: Path, chosen: argparse.Namespace) -> bool:
    with suppress(OSError):
        return lingers(builds / chosen.attempt)
    return False


def _connect(folder: Path) -> socket.socket:
    line = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    opened = os.open(folder, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        line.connect(f"/proc/self/fd/{opened}/{SOCKET}")
    finally:
        os.close(opened)
    return line


def enter(line: socket.socket, argv: Sequence[str], *, as_root: bool = False) -> int:
    """Run ``argv`` in the environment behind ``line``; its exit status."""
    if sys.stdin.isatty():
        return _in_terminal(line, argv, as_root)
    return _through_pipes(line, argv, as_root)


def _in_terminal(line: socket.socket, argv: Sequence[str], as_root: bool) -> int:
    master, slave = os.openpty()
    mine = sys.stdin.fileno()
    _copy_size(mine, slave)
    wish = Enter(
        argv=tuple(argv),
        is_terminal=True,
        as_root=as_root,
        terminal=os.environ.get("TERM", "dumb"),
    )
    socket.send_fds(line, [msgspec.json.encode(wish)], [slave] * 3)
    signal.signal(signal.SIGWINCH, lambda number, frame: _copy_size(mine, master))
    with _raw(mine):
        os.close(slave)
        _relay(mine, master, line)
        told = _hear(line)
    return _status(told)


def _relay(mine: int, master: int, line: socket.socket) -> None:
    """Pass on what is typed and what is said, until the command has ended."""
    watched = [mine, master, line.fileno()]
    while True:
        ready, _, _ = select.select(watched, [], [])
        if mine in ready:
            typed = os.read(mine, _BLOCK)
            if not typed:
                return
            _write_all(master, typed)
        if master in ready:
            try:
                _write_all(sys.stdout.fileno(), os.read(master, _BLOCK))
                continue  # all that was said, before its end
            except OSError:
                watched.remove(master)
        if line.fileno() in ready:
            return


def _through_pipes(line: socket.socket, argv: Sequence[str], as_root: bool) -> int:
    input_end, input_ = os.pipe()
    output, output_end = os.pipe()
    errors, errors_end = os.pipe()
    theirs = [input_end, output_end, errors_end]
    wish = Enter(argv=tuple(argv), as_root=as_root)
    socket.send_fds(line, [msgspec.json.encode(wish)], theirs)
    for descriptor in theirs:
        os.close(descriptor)
    threading.Thread(target=_pass_on, args=(0, input_), daemon=True).start()
    copying = [
        threading.Thread(target=_pass_on, args=pair) for pair in ((output, 1), (errors, 2))
    ]
    for each in copying:
        each.start()
    told = _hear(line)
    for each in copying:
        each.join()
    return _status(told)


def _pass_on(source: int, target: int) -> None:
    with suppress(OSError):
        while data := os.read(source, _BLOCK):
            _write_all(target, data)
    if target > 2:
        os.close(target)


def _write_all(target: int, data: bytes) -> None:
    while data:
        data = data[os.write(target, data) :]


def _hear(line: socket.socket) -> Entered | Turned:
    data = b""
    while part := line.recv(_BLOCK):
        data += part
    try:
        return msgspec.json.decode(data, type=Entered | Turned)
    except msgspec.DecodeError:
        return Turned(why="the time of the environment is over, or its machine stops")


def _status(told: Entered | Turned) -> int:
    if isinstance(told, Entered):
        return told.status
    print(f"headrace: {told.why}", file=sys.stderr)
    return 1


@contextmanager
def _raw(terminal: int) -> Iterator[None]:
    before = termios.tcgetattr(terminal)
    try:
        # What was typed already is for the shell.
        tty.setraw(terminal, termios.TCSADRAIN)
        yield
    finally:
        termios.tcsetattr(terminal, termios.TCSADRAIN, before)


def _copy_size(source: int, target: int) -> None:
    with suppress(OSError):
        size = fcntl.ioctl(source, termios.TIOCGWINSZ, bytes(8))
        fcntl.ioctl(target, termios.TIOCSWINSZ, size)


if __name__ == "__main__":
    sys.exit(main())

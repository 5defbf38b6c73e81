"""The supervisor's program: ``python -m worker.supervisor FOLDER``."""

from __future__ import annotations

import fcntl
import os
import signal
import socket
import sys
from pathlib import Path

from protocol.order import Order
from protocol.results import Result
from worker.environments import syscalls
from worker.supervisor.aftermath import report_end
from worker.supervisor.attach import note_process, read_order, read_settings, short_path
from worker.supervisor.build import Build
from worker.supervisor.endings import print_traceback
from worker.supervisor.settings import Settings
from worker.supervisor.spool import REPORTS, Spool
from worker.supervisor.stopping import SIGNAL, Stopper
from worker.supervisor.watch import Watch


def main(folder: Path) -> int:
    """Run the attempt in ``folder``; the exit status, 0 if its end is in the spool."""
    _settle_down()
    lock = os.open(folder / "supervisor.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o600)
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        print(f"another supervisor works in {folder}", file=sys.stderr)
        return 1
    note_process(folder, os.getpid())
    order = read_order(folder)
    if (folder / REPORTS).exists():
        # Never twice: what the first one did is half done, and may have been told.
        report_end(folder, order, Result.ERROR, "the supervisor of this build died")
        return 0
    listener = _listen(folder)
    settings = read_settings(folder)
    watch = Watch(folder, order, settings.grace, listener)
    build = os.fork()
    if build == 0:
        os.close(lock)
        listener.close()
        _build(folder, order, settings, *watch.inherited)
    watch.run(build)
    return 0


def _settle_down() -> None:
    """Do not depend on what the starting process was like."""
    os.umask(0o022)
    # The shell that starts us in the background ignores these for us.
    for number in (signal.SIGINT, signal.SIGQUIT):
        signal.signal(number, signal.SIG_DFL)
    signal.signal(SIGNAL, signal.SIG_IGN)


def _listen(folder: Path) -> socket.socket:
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    listener.setblocking(False)
    with short_path(folder) as address:
        listener.bind(address)
    listener.listen(16)
    return listener


def _build(
    folder: Path, order: Order, settings: Settings, news: int, stop_pipe: int
) -> None:
    """Be the build, and never return."""
    status = 1
    try:
        syscalls.die_with_parent()
        os.setpgid(0, 0)
        spool = Spool(folder, order.job, order.attempt, lambda: os.eventfd_write(news, 1))
        Build(folder, order, settings, spool, Stopper(stop_pipe)).run()
        spool.close()
        status = 0
    except BaseException:
        print_traceback()
    finally:
        sys.stderr.flush()
        os._exit(status)


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))

"""Stopping: how the watch interrupts the build, which is its child process.

The watch writes the `Stop` into a pipe and sends SIGUSR1. While it waits for a command,
the build waits for the pipe, too. Anywhere else that may take long - a fetch, an image,
an upload - it says so with `Stopper.interruptible`, and the signal raises `Stopped`
there, out of any system call.
"""

from __future__ import annotations

import contextlib
import os
import signal
from collections.abc import Iterator
from types import FrameType

import msgspec

from worker.supervisor.endings import Stop, Stopped

SIGNAL = signal.SIGUSR1

_decoder = msgspec.json.Decoder(Stop)


def tell(pipe: int, build: int, stop: Stop) -> None:
    """The watch's part: tell the process ``build``, reading ``pipe``, of ``stop``."""
    with contextlib.suppress(BlockingIOError, BrokenPipeError):
        os.write(pipe, msgspec.json.encode(stop))
    with contextlib.suppress(ProcessLookupError):
        os.kill(build, SIGNAL)


class Stopper:
    """The build's part: at most one `Stop`, heard on ``pipe``."""

    def __init__(self, pipe: int) -> None:
        self._pipe = pipe
        self._stop: Stop | None = None
        self._open = False
        os.set_blocking(pipe, False)
        signal.signal(SIGNAL, self._heard)

    @property
    def stop(self) -> Stop | None:
        """What was asked for, if anything was."""
        if self._stop is None:
            with contextlib.suppress(BlockingIOError):
                # One write of less than a page: never half of it. The watch's death
                # closes the pipe, but the kernel kills this process then.
                told = os.read(self._pipe, 4096)
                self._stop = _decoder.decode(told) if told else None
        return self._stop

    def fileno(self) -> int:
        """A descriptor that becomes readable when a stop is asked for."""
        return self._pipe

    def check(self) -> None:
        """Raise `Stopped` if a stop was asked for."""
        if self.stop is not None:
            raise Stopped(self.stop)

    @contextlib.contextmanager
    def interruptible(self) -> Iterator[None]:
        """While inside, a stop raises `Stopped` wherever the build is."""
        self._open = True
        try:
            self.check()
            yield
        finally:
            self._open = False

    def _heard(self, number: int, frame: FrameType | None) -> None:
        if self._open:
            self._open = False
            self.check()

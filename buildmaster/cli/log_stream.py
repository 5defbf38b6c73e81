"""Shows the log of an attempt as it comes, with lines of our own in the right places."""

from __future__ import annotations

from collections import deque

from buildmaster.cli.console import Console
from buildmaster.cli.narration import Line


class LogStream:
    """One attempt's log on the console.

    News of a job arrives by another way than its log, and may be faster. So each of our
    lines carries the length that the log had when the news was told, and is held back
    until that much of the log was shown.
    """

    def __init__(self, console: Console, source: str, prefix: str) -> None:
        self.shown = 0  #: bytes
        self.has_ended = False
        self._console = console
        self._source = source
        self._prefix = prefix
        self._held: deque[tuple[int, Line]] = deque()

    def received(self, data: bytes) -> None:
        """Show the next bytes of the log."""
        while self._held and self._held[0][0] < self.shown + len(data):
            before = self._held[0][0] - self.shown
            self._show(data[:before])
            data = data[before:]
            self._say_what_is_due()
        self._show(data)
        self._say_what_is_due()

    def tell(self, line: Line, after: int) -> None:
        """Show ``line`` once the first ``after`` bytes of the log were."""
        if self._held:
            after = max(after, self._held[-1][0])
        self._held.append((after, line))
        self._say_what_is_due()

    def end(self) -> None:
        """No more of the log will come."""
        if not self.has_ended:
            self.has_ended = True
            self._console.end_log(self._source, self._prefix)
            self._say_what_is_due()

    def _show(self, data: bytes) -> None:
        self.shown += len(data)
        self._console.log(self._source, data, self._prefix)

    def _say_what_is_due(self) -> None:
        while self._held and (self.has_ended or self._held[0][0] <= self.shown):
            _, line = self._held.popleft()
            self._console.say(f"{self._prefix}==> {line.text}", line.tone)

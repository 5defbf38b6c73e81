"""A console whose output a test can read."""

from __future__ import annotations

from io import BytesIO

from buildmaster.cli.console import Console


class RecordingConsole(Console):
    """Keeps what is printed."""

    def __init__(self, is_terminal: bool = False) -> None:
        self._kept = BytesIO()
        super().__init__(self._kept, is_terminal, colour=is_terminal)

    @property
    def printed(self) -> bytes:
        """Everything so far."""
        return self._kept.getvalue()

    @property
    def lines(self) -> list[str]:
        """The same, as lines of text."""
        return self.printed.decode().splitlines()

"""Statements that each connection plans a few times, however often they are run."""

from __future__ import annotations

#: How parameters are written.
_PLACE = "%s"


class Prepared(str):
    """SQL whose planning costs more than its running: documents of one thing.

    Used as any other SQL, with ``%s`` for parameters. Each must be one value, and its type
    clear from where it stands. The plan does not know the values once it is kept: no good
    for filters, where one value is rare and the other is every second row.
    """

    def preparation(self, name: str) -> str:
        """The statement that has it planned as ``name``."""
        first, *others = self.split(_PLACE)
        numbered = "".join(f"${n}{part}" for n, part in enumerate(others, 1))
        return f"PREPARE {name} AS {first}{numbered}"

    def execution(self, name: str) -> str:
        """The statement that runs what was planned as ``name``."""
        places = ", ".join([_PLACE] * self.count(_PLACE))
        return f"EXECUTE {name} ({places})" if places else f"EXECUTE {name}"

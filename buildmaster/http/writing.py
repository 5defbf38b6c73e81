"""What the OpenAPI document must know of an address that changes something."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Writing:
    """One POST. The handlers' modules list those that they answer."""

    path: str  #: as in the routes
    name: str  #: of the operation
    summary: str  #: a sentence
    body: Any  #: the type of the JSON, or a tuple of several; None: it has no body
    answers: Mapping[int, Any]  #: the type of the JSON, by status
    may_be_empty: bool = False  #: no body at all means the defaults

    @property
    def bodies(self) -> tuple[Any, ...]:
        """The types of its body; one of them will do."""
        if self.body is None:
            return ()
        return self.body if isinstance(self.body, tuple) else (self.body,)

    @property
    def in_path(self) -> tuple[str, ...]:
        """The parameters that are parts of the path."""
        parts = self.path.split("/")
        return tuple(part[1:-1] for part in parts if part.startswith("{"))

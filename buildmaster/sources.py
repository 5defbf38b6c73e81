"""Where the source of a build comes from, as the master keeps it."""

from __future__ import annotations

import msgspec

from protocol.order import GitSource, TreeSource


class MadeSource(msgspec.Struct, frozen=True, kw_only=True, tag="made", tag_field="kind"):
    """A tree that a native job makes; the build waits for it, and learns of it then."""

    job: int


Source = GitSource | TreeSource | MadeSource

"""Whether this machine lets the tests' account hold processes in namespaces."""

from __future__ import annotations

import os

from worker.environments.native import PLAIN, THROUGH_USER
from worker.environments.space import Layout, Refused, Space

#: The way of the account that the tests run as.
WAY = PLAIN if os.geteuid() == 0 else THROUGH_USER


def are_allowed() -> bool:
    """Whether there can be any; where not, a brood is what holds processes."""
    try:
        Space(Layout(namespaces=WAY)).stop()
    except Refused:
        return False
    return True

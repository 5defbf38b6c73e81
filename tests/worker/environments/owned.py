"""What this process owns, so that a test can see that nothing was left."""

from __future__ import annotations

import os
from pathlib import Path


def owned() -> list[str]:
    """Our descriptors, and our children, dead ones too: other tests have some as well."""
    children = Path(f"/proc/self/task/{os.getpid()}/children").read_text()
    return [*os.listdir("/proc/self/fd"), *sorted(children.split())]

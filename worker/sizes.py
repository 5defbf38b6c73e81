"""How much a worker's jobs may take together: cores, memory, disk."""

from __future__ import annotations

import os
import shutil
from dataclasses import dataclass
from pathlib import Path

from worker.config import WorkerConfig

_MIB = 2**20


@dataclass(frozen=True)
class Sizes:
    """As ``hello`` tells them."""

    cpu: int  #: cores
    memory: int  #: MiB
    disk: int  #: MiB


def sizes(config: WorkerConfig) -> Sizes:
    """What the settings say, else what this machine has when the daemon starts."""
    return Sizes(
        cpu=config.cpu or len(os.sched_getaffinity(0)),
        memory=(config.memory or _memory()) // _MIB,
        disk=(config.disk or _disk(Path(config.data), config.free_bytes)) // _MIB,
    )


def _memory() -> int:
    return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")


def _disk(folder: Path, kept_free: int) -> int:
    return max(shutil.disk_usage(folder).free - kept_free, 0)

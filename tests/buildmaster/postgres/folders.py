"""Folders for tests that start servers: short paths that other accounts can pass to."""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path
from unittest import TestCase


def short_folder(test: TestCase, mode: int = 0o755) -> Path:
    """An empty folder directly in ``/tmp``, removed when ``test`` ends.

    Trial's own lie deep in the checkout: too long for sockets, maybe under ``/root``.
    """
    folder = Path(tempfile.mkdtemp(prefix="headrace-folder-", dir="/tmp"))
    test.addCleanup(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(mode)
    return folder

"""Folders for tests that start servers: short paths that other accounts can pass to."""

from __future__ import annotations

import atexit
import os
import shutil
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from unittest import TestCase

from buildmaster.postgres.account import account_to_run_as
from buildmaster.postgres.binaries import find_binaries
from buildmaster.postgres.placement import make_home


def short_folder(test: TestCase, mode: int = 0o755) -> Path:
    """An empty folder directly in ``/tmp``, removed when ``test`` ends.

    Trial's own lie deep in the checkout: too long for sockets, maybe under ``/root``.
    """
    folder = Path(tempfile.mkdtemp(prefix="headrace-folder-", dir="/tmp"))
    test.addCleanup(shutil.rmtree, folder, ignore_errors=True)
    folder.chmod(mode)
    return folder


def give_cluster(data: Path) -> None:
    """Put a new cluster into a data folder: a copy, much cheaper than making one."""
    home = make_home(data, account_to_run_as())
    subprocess.run(["cp", "-a", _pattern(), home.cluster], check=True)


@cache
def _pattern() -> Path:
    account = account_to_run_as()
    folder = Path(tempfile.mkdtemp(prefix="headrace-folder-", dir="/tmp"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    if account.is_other:
        os.chown(folder, account.uid, account.gid)
    initdb = find_binaries(os.environ, account).program("initdb")
    options = ("--no-sync", "--auth=peer", "--username=postgres", "--encoding=UTF8")
    pattern = folder / "data"
    account.run([initdb, *options, "--locale=C", "-D", str(pattern)], timeout=60)
    return pattern

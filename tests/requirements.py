"""What a test needs of the machine it runs on.

Where the suite must not quietly shrink, as on the continuous integration machine, the
environment says ``HEADRACE_TEST_REQUIRE=1``: what would be skipped there fails.
"""

from __future__ import annotations

import os
from shutil import which
from unittest import SkipTest, TestCase


def require(test: TestCase, condition: bool, reason: str) -> None:
    """Go on if ``condition`` holds; else skip ``test``, telling ``reason``.

    With ``HEADRACE_TEST_REQUIRE=1`` the test fails instead of being skipped.
    """
    if condition:
        return
    if os.environ.get("HEADRACE_TEST_REQUIRE") == "1":
        test.fail(f"HEADRACE_TEST_REQUIRE=1 allows no skipping: {reason}")
    raise SkipTest(reason)


def require_mount(test: TestCase) -> None:
    """Skip ``test`` where it could not mount a small file system to fill."""
    require(test, os.geteuid() == 0, "mounting a small file system needs root")
    require(test, which("mount") is not None, "this machine lacks mount")

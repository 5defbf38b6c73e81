"""Test data that lies beside the checkout: agreed vectors, and real files of others."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any
from unittest import TestCase

from tests.requirements import require

SHARED = Path(__file__).resolve().parents[2] / "shared"


def cases(test: TestCase, name: str) -> list[dict[str, Any]]:
    """The cases of a file of vectors; skips ``test`` where there are none."""
    path = SHARED / "vectors" / name
    require(test, path.exists(), f"the vectors {name} are not on this machine")
    found: list[dict[str, Any]] = json.loads(path.read_text())["cases"]
    return found


def real_configurations(test: TestCase) -> dict[str, bytes]:
    """Files as public projects wrote them; skips ``test`` where there are none."""
    folder = SHARED / "corpus" / "launchpad-yaml"
    require(test, folder.exists(), "the corpus is not on this machine")
    return {path.name: path.read_bytes() for path in sorted(folder.glob("*.yaml"))}

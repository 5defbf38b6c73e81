from __future__ import annotations

import sys
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.kinds.builtin import BUILT_IN
from tests.buildmaster.kinds.conformance import KindConformance

EXAMPLE = Path(__file__).parents[3] / "examples" / "kind-code-import"


class NativeTests(KindConformance, SynchronousTestCase):
    kind = BUILT_IN[0]


class BuildTests(KindConformance, SynchronousTestCase):
    kind = BUILT_IN[1]


class CodeImportTests(KindConformance, SynchronousTestCase):
    """The example, which is not installed here."""

    arguments = {"url": "https://git.example/a.git", "every": 60}
    output = {"heads": {"main": "0" * 40}, "changed": ["main"]}

    def setUp(self) -> None:
        self.patch(sys, "path", [str(EXAMPLE), *sys.path])
        from kind_code_import.kind import (  # type: ignore[import-not-found, unused-ignore]
            CodeImport,
        )

        self.kind = CodeImport()

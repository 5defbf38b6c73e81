"""Shows the jobs of `hostile` to the daemons of a test, as if they were installed."""

from __future__ import annotations

import os

from twisted.trial.unittest import TestCase

from tests.worker.native.hostile import PLUGIN
from tests.worker.supervisor.attempts import folder


def show_plugins(test: TestCase) -> None:
    """Processes that ``test`` starts find them from now on."""
    plugins = folder(test) / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (plugins / "hostile.py").write_text(PLUGIN)
    paths = (str(plugins.parents[1]), os.environ.get("PYTHONPATH", ""))
    test.patch(os, "environ", os.environ.copy())
    os.environ["PYTHONPATH"] = os.pathsep.join(filter(None, paths))

"""Who may import whom: that the contracts in setup.cfg cover the modules that exist.

That they hold is for ``make lint`` to say.
"""

from __future__ import annotations

import configparser
from pathlib import Path

from twisted.trial.unittest import SynchronousTestCase

CHECKOUT = Path(__file__).resolve().parent.parent

#: Rules: they get everything as arguments, and are tested without a reactor.
PURE = {
    "buildmaster.blame",
    "buildmaster.calibration",
    "buildmaster.cron",
    "buildmaster.dependencies",
    "buildmaster.durations",
    "buildmaster.explanation",
    "buildmaster.forecast",
    "buildmaster.graph",
    "buildmaster.lifecycle",
    "buildmaster.matching",
    "buildmaster.patterns",
    "buildmaster.planner",
    "buildmaster.planning",
    "buildmaster.references",
    "buildmaster.series",
    "buildmaster.workflow",
    "protocol.conversation",
    "protocol.messages",
    "protocol.order",
    "protocol.pipeline",
    "protocol.results",
    "protocol.stages",
    "worker.session",
}

SECTION = "importlinter:contract:"


def contracts() -> configparser.ConfigParser:
    """The settings that lint-imports reads."""
    settings = configparser.ConfigParser()
    settings.read(CHECKOUT / "setup.cfg")
    return settings


def exists(module: str) -> bool:
    """Whether ``module`` is there, as a file or as a package."""
    path = CHECKOUT.joinpath(*module.split("."))
    return path.with_suffix(".py").exists() or (path / "__init__.py").exists()


class LayersTests(SynchronousTestCase):
    """The contracts themselves."""

    def test_every_pure_module_is_under_contract(self) -> None:
        """A rule that exists may import neither Twisted nor the driver."""
        listed = contracts()[SECTION + "pure"]["source_modules"].split()
        self.assertEqual({m for m in PURE if exists(m)}, set(listed) & PURE)

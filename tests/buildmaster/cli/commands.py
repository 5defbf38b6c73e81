"""Runs a command that needs no farm, in this process."""

from __future__ import annotations

import argparse
import io
import json
from contextlib import redirect_stderr, redirect_stdout
from types import ModuleType
from typing import Any, NamedTuple


class Ran(NamedTuple):
    """How a command ended, and what it printed."""

    status: int
    output: str

    @property
    def document(self) -> Any:
        """The JSON that it printed."""
        return json.loads(self.output)


def run(module: ModuleType, *arguments: str) -> Ran:
    """Run the command that ``module`` adds, with ``arguments`` beginning with its name.

    Wrong usage raises SystemExit, as it does outside.
    """
    parser = argparse.ArgumentParser(prog="headrace")
    module.add(parser.add_subparsers())
    output = io.StringIO()
    with redirect_stdout(output), redirect_stderr(io.StringIO()):
        chosen = parser.parse_args(arguments)
        status = chosen.act(chosen)
    return Ran(status, output.getvalue())

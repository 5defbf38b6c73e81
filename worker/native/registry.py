"""The native jobs that this worker can perform: Twisted plug-ins and settings."""

from __future__ import annotations

import re
import shutil
from collections.abc import Iterable, Mapping

from twisted.plugin import getPlugins

from worker.native.builtin import BUILT_IN
from worker.native.interface import INativeJob

#: What a native job may be called.
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


class BadNativeJob(Exception):
    """A plug-in or a setting is not what it must be: the operator's to mend."""


def find_callables() -> dict[str, INativeJob]:
    """Every callable that is installed, by name; raises `BadNativeJob`.

    A plug-in that cannot be imported is logged by Twisted, and passed over.
    """
    return named([*BUILT_IN, *getPlugins(INativeJob)])


def named(callables: Iterable[INativeJob]) -> dict[str, INativeJob]:
    """``callables`` by their names; raises `BadNativeJob` if one cannot be called so."""
    found: dict[str, INativeJob] = {}
    for each in callables:
        name = getattr(each, "name", None)
        if not isinstance(name, str) or not NAME.fullmatch(name):
            raise BadNativeJob(
                f"the native job {_origin(each)} calls itself {name!r}; a name has "
                "letters, digits, '.', '_' and '-', 100 at most"
            )
        if not callable(getattr(each, "run", None)):
            raise BadNativeJob(f"the native job {name} ({_origin(each)}) has no run()")
        if found.get(name) is each:
            continue  # A module that imports it has it, too.
        if name in found:
            raise BadNativeJob(
                f"two native jobs call themselves {name}: {_origin(found[name])} and "
                f"{_origin(each)}; uninstall one of them"
            )
        found[name] = each
    return found


def check_commands(
    commands: Mapping[str, tuple[str, ...]], callables: Mapping[str, INativeJob]
) -> None:
    """Raise `BadNativeJob` for a command that could never be started."""
    for name, argv in commands.items():
        if not NAME.fullmatch(name):
            raise BadNativeJob(
                f"{name!r} is no name for a command: letters, digits, '.', '_' and '-', "
                "100 at most"
            )
        if name in callables:
            raise BadNativeJob(
                f"{name} is the name of an installed callable ({_origin(callables[name])}),"
                " too; call the command something else"
            )
        if shutil.which(argv[0]) is None:
            raise BadNativeJob(f"{name}: there is no program {argv[0]!r} on this machine")


def is_quick(native_job: INativeJob) -> bool:
    """Whether it says that it may run in the daemon itself."""
    return getattr(native_job, "is_quick", False) is True


def _origin(native_job: object) -> str:
    kind = native_job if isinstance(native_job, type) else type(native_job)
    return f"{kind.__module__}.{kind.__qualname__}"

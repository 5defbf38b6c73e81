"""Passwords from a file, checked few at a time and beside everything else."""

from __future__ import annotations

import re
import secrets
from collections.abc import Mapping
from pathlib import Path

from twisted.internet.defer import DeferredSemaphore
from twisted.internet.threads import deferToThread

from buildmaster.people.passwords import is_hash, verify
from buildmaster.people.person import Person, is_name
from buildmaster.people.watched import BadFile, Watched

#: Passwords that are checked at a time, and that may wait for it.
AT_A_TIME, WAITING = 2, 30
#: Bytes of the file.
LARGEST = 4 * 2**20

_SALT = re.compile(r"(\$2[aby]\$[0-9]{2}\$.{22}|.*\$)", re.DOTALL)
#: What an empty file's passwords are compared with: bcrypt, as new lines have it.
_DECOY = "$2b$12$AvCc1LYrHMKMEk1rRM23/emH/CGJCtR7L5AJn0YPextG6A7ipB/tu"


class TooManyLogins(Exception):
    """So many passwords wait to be checked that another has to come later."""


class Htpasswd:
    """Who is in the file now."""

    def __init__(self, path: Path) -> None:
        none: Mapping[str, str] = {}
        self._file = Watched(path, read_htpasswd, none, keeps=False)
        self._turns = DeferredSemaphore(AT_A_TIME)
        self._under_way = 0

    def has(self, name: str) -> bool:
        """Whether the file has somebody of this name."""
        return name in self._file.now()

    async def person(self, name: str, password: str) -> Person | None:
        """Who ``name`` is, if the password is theirs; `TooManyLogins`.

        Somebody who is not in the file costs as much as somebody who is: how long an
        answer takes tells nobody which names there are.
        """
        if self._under_way >= AT_A_TIME + WAITING:
            raise TooManyLogins("too many people log in just now; try again in a moment")
        lines = self._file.now()
        line = lines.get(name)
        self._under_way += 1
        try:
            compared = line if line is not None else _decoy(lines)
            is_theirs: bool = await self._turns.run(
                deferToThread, verify, password, compared
            )
        finally:
            self._under_way -= 1
        # The file may have changed while it was looked at.
        if line is None or not is_theirs or self._file.now().get(name) != line:
            return None
        return Person(name, "htpasswd", name)


def _decoy(lines: Mapping[str, str]) -> str:
    """A hash as others in the file are, which no password has."""
    model = next(iter(lines.values()), _DECOY)
    found = _SALT.match(model)
    assert found is not None
    start, rest = found[0], model[found.end() :]
    noise = "".join(secrets.choice("./ABCDEFGHIJKLMNOPQRSTUVWXYZ") for _ in rest[:-1])
    return f"{start}{noise}{rest[-1]}"


def read_htpasswd(path: Path) -> Mapping[str, str]:
    """The lines NAME:HASH of the file; `BadFile` names the first that is none."""
    with path.open("rb") as file:
        data = file.read(LARGEST + 1)
    if len(data) > LARGEST:
        raise BadFile(f"it has more than {LARGEST} bytes")
    found: dict[str, str] = {}
    for number, line in enumerate(data.decode().split("\n"), 1):
        line = line.rstrip("\r")
        if not line.strip() or line.startswith("#"):
            continue
        name, mark, rest = line.partition(":")
        if not mark or not is_name(name):
            raise BadFile(f"line {number} is not NAME:HASH")
        if not is_hash(rest):
            raise BadFile(
                f"line {number} ({name}) has no hash that is taken here: make one with"
                f" 'headrace people hash {name}'"
            )
        if name in found:
            raise BadFile(f"line {number}: {name} stands there twice")
        found[name] = rest
    return found

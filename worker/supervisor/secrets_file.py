"""The operator's secrets: a YAML file that maps names to texts, closed to others."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Any

#: Bytes of the file, and characters of one secret.
LIMIT = 256 * 1024
LONGEST = 4096


class BadSecrets(Exception):
    """The file is not as it must be: the operator's to mend; the text quotes no secret."""


def read_secrets(path: Path) -> dict[str, str]:
    """The secrets in ``path`` by name, or `BadSecrets`."""
    import yaml  # takes long to import, and few builds need a secret

    try:
        with path.open("rb") as stream:
            mode = stat.S_IMODE(os.fstat(stream.fileno()).st_mode)
            content = stream.read(LIMIT + 1)
    except OSError as error:
        raise BadSecrets(
            f"the secrets file {path} cannot be read: {error.strerror}"
        ) from None
    if mode & 0o077:
        raise BadSecrets(
            f"the secrets file {path} can be read by others (mode {mode:04o}): "
            f"chmod 600 {path}"
        )
    if len(content) > LIMIT:
        raise BadSecrets(f"the secrets file {path} has more than {LIMIT} bytes")
    try:
        found: Any = yaml.load(content, yaml.CSafeLoader)
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        # The error's own text would quote the file.
        mark = getattr(error, "problem_mark", None)
        where = f", line {mark.line + 1}" if mark else ""
        raise BadSecrets(f"the secrets file {path}{where} is not YAML") from None
    return _checked(path, found)


def _checked(path: Path, found: Any) -> dict[str, str]:
    if found is None:
        return {}
    if not isinstance(found, dict) or not all(isinstance(name, str) for name in found):
        raise BadSecrets(f"the secrets file {path} must map names to texts")
    for name, value in found.items():
        if not isinstance(value, str) or not value:
            raise BadSecrets(
                f"the secret {name} in {path} is no text; put it into quotes if it looks "
                "like a number"
            )
        if len(value) > LONGEST or not value.isprintable():
            raise BadSecrets(
                f"the secret {name} in {path} must be one line of {LONGEST} characters "
                "at most"
            )
    return found

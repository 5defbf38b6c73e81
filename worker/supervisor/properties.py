"""Properties: facts about a pipeline job's output, said in the pipeline or by the job."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import msgspec

from protocol.pipeline.model import License
from worker.supervisor.endings import Failed

#: Bytes of a file of dynamic properties, and of all properties as JSON.
LIMIT = 128 * 1024
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "\\": "\\", '"': '"', "$": "$", "`": "`"}


def combined(
    static: Mapping[str, Any] | None,
    dynamic: Mapping[str, str | None],
    project_license: License | None,
) -> dict[str, Any]:
    """What is recorded: the pipeline's, changed by the job's own, and the licence.

    `Failed` if that is more than can be stored.
    """
    properties: dict[str, Any] = dict(static or {})
    for name, value in dynamic.items():
        if value is None:
            properties.pop(name, None)
        else:
            properties[name] = value
    if project_license is not None:
        properties["license"] = {
            "spdx": project_license.spdx,
            "path": project_license.path,
        }
    text = msgspec.json.encode(properties)
    if len(text) > LIMIT:
        raise Failed(f"the properties take {len(text)} bytes; {LIMIT} can be kept")
    if b"\\u0000" in text:
        raise Failed("a property holds the character NUL, which cannot be kept")
    return properties


def parse(content: bytes) -> dict[str, str | None]:
    """The lines ``KEY=VALUE`` of a file of dynamic properties; a bare ``KEY`` is None.

    As in files that set variables for a shell: blank lines, ``# comments``, a leading
    ``export`` and quotes are understood. `Failed` tells of a line that is none of this.
    """
    try:
        text = content.decode()
    except UnicodeDecodeError as error:
        raise Failed(f"the file of `dynamic-properties` is not UTF-8: {error}") from error
    found: dict[str, str | None] = {}
    for number, line in enumerate(text.splitlines(), 1):
        stripped = line.strip().removeprefix("export ").lstrip()
        if not stripped or stripped.startswith("#"):
            continue
        name, equals, value = stripped.partition("=")
        name = name.strip()
        if not name or any(character.isspace() for character in name):
            raise Failed(
                f"line {number} of the file of `dynamic-properties` is not KEY=VALUE"
            )
        found[name] = _value(value.strip(), number) if equals else None
    return found


def _value(text: str, line: int) -> str:
    quote = text[:1]
    if quote not in ("'", '"') or not quote:
        return text.partition(" #")[0].rstrip()
    result: list[str] = []
    place = 1
    while place < len(text):
        character = text[place]
        if character == quote:
            return "".join(result)
        if quote == '"' and character == "\\" and place + 1 < len(text):
            place += 1
            character = _ESCAPES.get(text[place], "\\" + text[place])
        result.append(character)
        place += 1
    raise Failed(f"line {line} of the file of `dynamic-properties` has an open quote")

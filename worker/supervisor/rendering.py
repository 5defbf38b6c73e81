"""Rendering: secrets put into the lines that tell apt where packages come from.

A line is Jinja, of which only ``{{ name }}`` with a few harmless filters is let through:
lines come from strangers, who could otherwise fill the worker's memory with a few signs.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping

from worker.supervisor.endings import CannotRun, Malformed

_JINJA = re.compile(r"\{[{%#]")
_USERINFO = re.compile(r"://([^/@\s]+)@")
_LONGEST = 4096
_FILTERS = frozenset({"urlencode", "trim", "lower", "upper", "string", "safe"})


def needs_secrets(line: str) -> bool:
    """Whether ``line`` has anything to be put in."""
    return _JINJA.search(line) is not None


def render(
    lines: tuple[str, ...], secrets: Mapping[str, str], who: str, where: str
) -> tuple[str, ...]:
    """``lines`` with their secrets. ``who`` wants them; ``where`` secrets are set.

    `Malformed` for anything but a name and harmless filters in braces; `CannotRun` names
    a secret that is not set. No error quotes a secret.
    """
    # Takes long to import, and few builds need it.
    from jinja2 import StrictUndefined, TemplateError, UndefinedError
    from jinja2.sandbox import SandboxedEnvironment

    environment = SandboxedEnvironment(undefined=StrictUndefined, autoescape=False)

    def rendered(line: str) -> str:
        if not needs_secrets(line):
            return line
        try:
            _check(environment.parse, line, secrets, who, where)
            result = environment.from_string(line).render(secrets)
        except UndefinedError as error:
            raise CannotRun(f"{who} needs a secret that is not set {where}") from error
        except (TemplateError, RecursionError, ValueError):
            raise _malformed(who, line) from None
        if not result.isprintable():
            raise _malformed(who, line)
        return result

    return tuple(rendered(line) for line in lines)


def userinfo(line: str) -> set[str]:
    """Who a URL in ``line`` says one is, with the password by itself, too."""
    whole = _USERINFO.findall(line)
    return {part for each in whole for part in (each, each.partition(":")[2]) if part}


def _check(
    parse: Callable[[str], object],
    line: str,
    secrets: Mapping[str, str],
    who: str,
    where: str,
) -> None:
    from jinja2 import nodes

    if len(line) > _LONGEST:
        raise _malformed(who, line)
    template = parse(line)
    assert isinstance(template, nodes.Template)
    plain = (nodes.Output, nodes.TemplateData, nodes.Name, nodes.Filter)
    for node in template.find_all(nodes.Node):
        is_harmless = not isinstance(node, nodes.Filter) or node.name in _FILTERS
        if not isinstance(node, plain) or not is_harmless:
            raise _malformed(who, line)
        if isinstance(node, nodes.Name) and node.name not in secrets:
            raise CannotRun(
                f"{who} needs the secret {node.name[:200]}, which is not set {where}"
            )


def _malformed(who: str, line: str) -> Malformed:
    return Malformed(
        f"{who} has the line {line[:300]!r}; in braces only the name of a secret can "
        f"stand, with filters out of {', '.join(sorted(_FILTERS))}: {{{{name}}}}"
    )

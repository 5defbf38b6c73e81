"""Where this machine gets its packages from, as its apt sources say."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

#: Suites of Debian that have no others beside them, such as -updates.
_LONELY = frozenset({"sid", "unstable", "experimental", "rc-buggy"})

_ONE_LINE = re.compile(r"^deb\s+(?:\[(?P<options>[^]]*)\]\s+)?(?P<rest>\S.*)$")


@dataclass(frozen=True)
class AptSource:
    """An archive of binary packages: one URI, one suite."""

    uri: str
    suite: str
    components: tuple[str, ...]
    signed_by: str | None = None  #: absolute path of a key ring

    @property
    def line(self) -> str:
        """The line for a sources.list."""
        option = f"[signed-by={self.signed_by}] " if self.signed_by else ""
        return " ".join(
            [f"deb {option}{self.uri}", self.suite, *self.components],
        )


def read_apt_sources(etc_apt: Path = Path("/etc/apt")) -> list[AptSource]:
    """All that apt on this machine reads; empty if it reads nothing."""
    parts = etc_apt / "sources.list.d"
    found: list[AptSource] = []
    for path in [etc_apt / "sources.list", *sorted(parts.glob("*.list"))]:
        found += parse_one_line(_text(path))
    for path in sorted(parts.glob("*.sources")):
        found += parse_deb822(_text(path))
    return list(dict.fromkeys(found))


def _text(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""


def for_series(sources: list[AptSource], own: str, series: str) -> list[AptSource]:
    """The sources of ``series``, made from those of ``own``, this machine's series.

    ``bookworm-security`` becomes ``trixie-security`` where they ask for trixie.  Sources
    of other suites are left out: nobody knows whether they carry the series.
    """
    found = []
    for source in sources:
        suite, dash, pocket = source.suite.partition("-")
        if suite != own or (dash and series in _LONELY):
            continue
        found.append(replace(source, suite=f"{series}{dash}{pocket}"))
    return found


def parse_one_line(text: str) -> list[AptSource]:
    """The sources of a file in the one-line format; lines it can't use are left out."""
    found = []
    for line in text.splitlines():
        match = _ONE_LINE.match(line.partition("#")[0].strip())
        if match is None:
            continue
        uri, *rest = match["rest"].split()
        options = dict(
            option.partition("=")[::2] for option in (match["options"] or "").split()
        )
        if rest and _reachable(uri):
            signed_by = _key_ring(options.get("signed-by", ""))
            found.append(AptSource(uri, rest[0], tuple(rest[1:]), signed_by))
    return found


def parse_deb822(text: str) -> list[AptSource]:
    """The sources of a file in the deb822 format; stanzas it can't use are left out."""
    found = []
    for stanza in _stanzas(text):
        types = stanza.get("types", "").split()
        if "deb" not in types or stanza.get("enabled", "yes").lower() in ("no", "false"):
            continue
        components = tuple(stanza.get("components", "").split())
        signed_by = _key_ring(stanza.get("signed-by", ""))
        found += [
            AptSource(uri, suite, components, signed_by)
            for uri in stanza.get("uris", "").split()
            for suite in stanza.get("suites", "").split()
            if _reachable(uri)
        ]
    return found


def _stanzas(text: str) -> Iterator[dict[str, str]]:
    stanza: dict[str, str] = {}
    name = ""
    for line in [*text.splitlines(), ""]:
        if line.startswith("#"):
            continue
        if not line.strip():
            if stanza:
                yield stanza
            stanza, name = {}, ""
        elif line[0] in " \t":
            if name:
                stanza[name] += "\n" + line.strip()
        else:
            name, _, value = line.partition(":")
            name = name.strip().lower()
            stanza[name] = value.strip()


def _reachable(uri: str) -> bool:
    """Whether an image can be made from it: not from a disc in a drive."""
    return ":" in uri and not uri.startswith("cdrom:")


def _key_ring(value: str) -> str | None:
    # A key can also stand in the file itself; then apt's own key rings must do.
    paths = value.replace(",", " ").split()
    return paths[0] if len(paths) == 1 and paths[0].startswith("/") else None

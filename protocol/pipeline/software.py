"""What a pipeline job has installed: snaps, and apt archives to install packages from."""

from __future__ import annotations

import re

from protocol.pipeline import document, values
from protocol.pipeline.document import Entry, Node, Scalar
from protocol.pipeline.model import PackageRepository, Snap
from protocol.pipeline.problems import Spot, quoted
from protocol.pipeline.values import Reader, below, described, is_null, optional

_SNAP_KEYS = ("name", "channel", "classic")
_REPOSITORY_KEYS = ("type", "url", "ppa", "components", "formats", "suites", "trusted")
_COMPONENTS = ("main", "restricted", "universe", "multiverse")
_FORMATS = ("deb", "deb-src")
_SUITES = ("bionic", "focal", "jammy", "noble")
_TRUTH = {
    **dict.fromkeys(("1", "true", "t", "yes", "y", "on"), "yes"),
    **dict.fromkeys(("0", "false", "f", "no", "n", "off"), "no"),
}
#: No blanks anywhere: each would begin another word in apt's sources.list.
_URL = re.compile(
    r"(?P<scheme>[a-z][a-z0-9+.-]*)://(?:[^\s/@]*@)?"
    r"(?P<host>[a-z0-9.-]+|\[[0-9a-f:.]+\])(?::[0-9]{1,5})?(?:[/?#][^\s]*)?",
    re.IGNORECASE | re.ASCII,
)
_PPA_SEGMENT = re.compile(r"[a-z0-9][a-z0-9+._-]+")


def snaps(node: Node, spot: Spot) -> tuple[Snap, ...] | None:
    """A ``snaps`` list."""
    return values.each(_snap_of(spot))(node, spot)


def _snap_of(whole: Spot) -> Reader[Snap]:
    """A reader of one snap; some of its faults the reference pins to the ``whole`` list."""

    def read(node: Node, spot: Spot) -> Snap | None:
        if isinstance(node, Scalar) and isinstance(node.value, str):
            spot.warning(
                f"a snap given as a bare word is installed with classic confinement;"
                f" write {{name: {quoted(node.value)}, classic: true}} if it is meant"
            )
            return Snap(name=node.value, classic=True)
        list_spot = Spot(whole.report, whole.where, node.line)
        if not isinstance(node, document.Mapping):
            list_spot.error(
                f"a snap must be a word or a mapping with a name, and is {described(node)}"
            )
            return None
        found = values.fields(node, spot, _SNAP_KEYS) or {}
        if "name" not in found or is_null(found["name"].value):
            list_spot.error("a snap needs a name")
            return None
        name = below(found, "name", spot, values.text)
        channel = below(found, "channel", spot, values.text)
        classic = below(found, "classic", spot, values.boolean)
        return Snap(
            name=name or "", channel=channel or "latest/stable", classic=classic or False
        )

    return read


def repositories_for(series: str) -> Reader[tuple[PackageRepository, ...]]:
    """A reader of ``package-repositories`` of a job that runs in ``series``."""

    def read(node: Node, spot: Spot) -> PackageRepository | None:
        found = values.fields(node, spot, _REPOSITORY_KEYS)
        return None if found is None else _repository(found, spot, series)

    return values.each(read)


def _repository(
    found: dict[str, Entry], spot: Spot, series: str
) -> PackageRepository | None:
    kind = below(found, "type", spot, values.choice(("apt",)), "apt is the only one")
    formats = below(found, "formats", spot, optional(_choices(_FORMATS)))
    suites = below(found, "suites", spot, optional(_choices(_SUITES)))
    components = below(found, "components", spot, optional(_choices(_COMPONENTS)))
    ppa = below(found, "ppa", spot, optional(_ppa))
    url = below(found, "url", spot, optional(_url))
    trusted = below(found, "trusted", spot, _trusted)
    if not _is_one_kind(found, components, spot):
        return None
    if ppa is not None:
        url, components = _ppa_url(ppa), ("main",)
    if not suites and series not in _SUITES:
        spot.at("suites").error(
            f"no archive is known for the series {quoted(series)}; give suites, out of"
            f" {', '.join(_SUITES)}"
        )
        return None
    return PackageRepository(
        type=kind or "",
        url=url or "",
        components=components or (),
        formats=formats or ("deb",),
        suites=suites or (series,),
        ppa=ppa,
        trusted=trusted,
    )


def _is_one_kind(
    found: dict[str, Entry], components: tuple[str, ...] | None, spot: Spot
) -> bool:
    root = spot.at("__root__")
    has_ppa, has_url = _given(found, "ppa"), _given(found, "url")
    if has_ppa and has_url:
        root.error("url and ppa exclude each other; leave one out")
    elif not has_ppa and not has_url:
        root.error("a package repository needs either url or ppa")
    elif has_ppa and _given(found, "components"):
        root.error("a ppa has the component main and takes no components; leave them out")
    elif has_url and not components:
        root.error("a url needs components: one or more of " + ", ".join(_COMPONENTS))
    else:
        return True
    return False


def _given(found: dict[str, Entry], key: str) -> bool:
    return key in found and not is_null(found[key].value)


def _choices(options: tuple[str, ...]) -> Reader[tuple[str, ...]]:
    return values.each(values.choice(options))


def _ppa(node: Node, spot: Spot) -> str | None:
    name = values.text(node, spot)
    if name is None:
        return None
    segments = name.split("/")
    if len(segments) not in (2, 3) or not all(map(_PPA_SEGMENT.fullmatch, segments)):
        spot.error(
            f"{quoted(name)} is not a PPA; write OWNER/NAME or OWNER/DISTRIBUTION/NAME"
        )
        return None
    return name


def _ppa_url(ppa: str) -> str:
    owner, *distribution, name = ppa.split("/")
    folder = distribution[0] if distribution else "ubuntu"
    return f"https://ppa.launchpadcontent.net/{owner}/{name}/{folder}"


def _url(node: Node, spot: Spot) -> str | None:
    url = values.text(node, spot)
    if url is None:
        return None
    parts = _URL.fullmatch(url)
    if parts and url.isprintable() and parts["scheme"].lower() in ("http", "https"):
        return url
    spot.error(f"{quoted(url)} is not an http or https URL without blanks")
    return None


def _trusted(node: Node, spot: Spot) -> str | None:
    if isinstance(node, Scalar):
        if isinstance(node.value, bool):
            return "yes" if node.value else "no"
        word = _TRUTH.get(node.text.lower())
        if word is not None:
            return word
    spot.error(f"this must be true or false, and is {described(node)}")
    return None

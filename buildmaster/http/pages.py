"""The dashboard: files that come with the package, and nothing from elsewhere."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.resources import files
from importlib.resources.abc import Traversable

from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.http.problems import Problem

_TYPES = {
    "html": "text/html; charset=utf-8",
    "js": "text/javascript; charset=utf-8",
    "css": "text/css; charset=utf-8",
    "svg": "image/svg+xml",
}

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    ),
    # Addresses have names of repositories in them, which are nobody else's business.
    "Referrer-Policy": "same-origin",
}


class Pages:
    """Answers /, /page/FILE and /page/FOLDER/FILE."""

    def __init__(self) -> None:
        self._files = dict(_read(files("buildmaster.http") / "page"))

    @property
    def names(self) -> tuple[str, ...]:
        """All files, as they are called below /page/."""
        return tuple(sorted(self._files))

    async def index(self, call: Call) -> Answer:
        """The page itself."""
        return self._answer("index.html")

    async def file(self, call: Call) -> Answer:
        """What the page is made of."""
        folder = call.parts.get("folder")
        file = call.parts["file"]
        name = file if folder is None else f"{folder}/{file}"
        # Each file has one address: a slash within a part is none between parts.
        if "/" in file or name not in self._files:
            raise Problem(404, "not_found", "there is nothing at this address")
        return self._answer(name)

    def _answer(self, name: str) -> Answer:
        return Answer(
            body=self._files[name],
            content_type=_TYPES[name.rpartition(".")[2]],
            headers=_HEADERS,
            has_etag=True,
        )


def _read(folder: Traversable, above: str = "") -> Iterator[tuple[str, bytes]]:
    for each in folder.iterdir():
        if each.is_dir():
            yield from _read(each, f"{above}{each.name}/")
        elif each.name.rpartition(".")[2] in _TYPES:
            yield f"{above}{each.name}", each.read_bytes()

"""The status page: a few files that come with the package, and nothing from elsewhere."""

from __future__ import annotations

from importlib.resources import files

from buildmaster.http.answers import Answer
from buildmaster.http.call import Call
from buildmaster.http.problems import Problem

_TYPES = {
    "index.html": "text/html; charset=utf-8",
    "app.js": "text/javascript; charset=utf-8",
    "views.js": "text/javascript; charset=utf-8",
    "style.css": "text/css; charset=utf-8",
    "login.css": "text/css; charset=utf-8",
    "icon.svg": "image/svg+xml",
}

_POLICY = {
    "Content-Security-Policy": (
        "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self';"
        " connect-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
    )
}


class Pages:
    """Answers / and /page/FILE."""

    def __init__(self) -> None:
        folder = files("buildmaster.http") / "page"
        self._files = {name: (folder / name).read_bytes() for name in _TYPES}

    async def index(self, call: Call) -> Answer:
        """The page itself."""
        return self._answer("index.html")

    async def file(self, call: Call) -> Answer:
        """What the page is made of."""
        name = call.parts["file"]
        if name not in self._files:
            raise Problem(404, "not_found", "there is nothing at this address")
        return self._answer(name)

    def _answer(self, name: str) -> Answer:
        return Answer(
            body=self._files[name],
            content_type=_TYPES[name],
            headers=_POLICY,
            has_etag=True,
        )

"""The page on which people log in: plain HTML, which works without scripts."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from urllib.parse import quote

from buildmaster.http.answers import Answer
from buildmaster.http.me import Door

_HEADERS = {
    "Content-Security-Policy": (
        "default-src 'none'; style-src 'self'; img-src 'self'; form-action 'self';"
        " base-uri 'none'; frame-ancestors 'none'"
    ),
    # With no-referrer a browser hides where a form was sent from (Origin: null).
    "Referrer-Policy": "same-origin",
    "Cache-Control": "no-store",
}

_PAGE = """<!doctype html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<meta name="color-scheme" content="light dark">
<title>{title} – Headrace</title>
<link rel="icon" href="/page/icon.svg">
<link rel="stylesheet" href="/page/style.css">
<link rel="stylesheet" href="/page/login.css">
</head>
<body>
<header><a class="home" href="/">Headrace</a></header>
<main>
<h1>{title}</h1>
{content}
</main>
</body>
</html>
"""

_FORM = """<form class="login" method="post" action="/login">
<input type="hidden" name="next" value="{next}">
<label for="user">Name</label>
<input id="user" name="user" value="{user}" autocomplete="username" autocapitalize="none"
 spellcheck="false" maxlength="200" required{focus_user}{described}>
<label for="password">Password</label>
<input id="password" name="password" type="password" autocomplete="current-password"
 maxlength="1000" required{focus_password}{described}>
<button type="submit">Log in</button>
</form>
"""


def login_page(
    doors: Sequence[Door], following: str, problem: str = "", user: str = "", **more: str
) -> Answer:
    """The page; ``following`` is where to go afterwards, ``problem`` what went wrong.

    ``more`` are headers, and ``status`` that of the answer.
    """
    parts = []
    if problem:
        parts.append(f'<p id="problem" class="error" role="alert">{escape(problem)}</p>\n')
    for door in doors:
        if door.kind == "htpasswd":
            described = ' aria-describedby="problem" aria-invalid="true"' if problem else ""
            parts.append(
                _FORM.format(
                    next=escape(following),
                    user=escape(user),
                    focus_user="" if user else " autofocus",
                    focus_password=" autofocus" if user else "",
                    described=described,
                )
            )
        else:
            url = f"{door.url}?next={quote(following, safe='')}"
            parts.append(
                f'<p><a class="door" href="{escape(url)}">{escape(door.label)}</a></p>\n'
            )
    if not doors:
        parts.append("<p>Nobody logs in here: this farm knows tokens only.</p>\n")
    status = int(more.pop("status", "200"))
    return _page(status, "Log in", "".join(parts), more)


def failure_page(status: int, sentence: str, following: str = "/") -> Answer:
    """What went wrong while somebody came from a provider, and the way back."""
    again = f"/login?next={quote(following, safe='')}"
    content = (
        f'<p class="error" role="alert">{escape(sentence)}</p>\n'
        f'<p><a href="{escape(again)}">Try again</a></p>\n'
    )
    return _page(status, "Nobody was logged in", content, {})


def _page(status: int, title: str, content: str, headers: dict[str, str]) -> Answer:
    return Answer(
        status,
        _PAGE.format(title=escape(title), content=content).encode(),
        "text/html; charset=utf-8",
        headers={**_HEADERS, **headers},
    )

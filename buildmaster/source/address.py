"""Which addresses of repositories, names of revisions and paths git may be given."""

from __future__ import annotations

import re
from urllib.parse import urlsplit

from buildmaster.requests import Refusal

REMOTE_PROTOCOLS = ("https", "http", "ssh", "git")

#: user@host:path, which git takes for ssh.
_SSH_SHORT = re.compile(
    r"(?:[a-z0-9_][\w.+-]*@)?[a-z0-9][\w.-]*:(?!:|//)\S+\Z", re.ASCII | re.IGNORECASE
)
_HOST = re.compile(r"[a-z0-9]([a-z0-9._-]*[a-z0-9])?\.?\Z|[0-9a-f:.]+\Z", re.ASCII)
_USER = re.compile(r"[a-z0-9_][\w.+-]*\Z", re.ASCII | re.IGNORECASE)
_UNPRINTABLE = re.compile(r"[\x00-\x20\x7f]")
#: Names of branches and tags, and commits; nothing that git would calculate with.
_REVISION = re.compile(r"[^\x00-\x20\x7f~^:?*\[\\+.@-][^\x00-\x20\x7f~^:?*\[\\]{0,240}\Z")


def check_address(repository: str, *, allow_local: bool) -> None:
    """Refuse what git must not be given: options, helpers, secrets, other protocols."""
    if repository.startswith("/"):
        scheme = "a path of the buildmaster's machine"
        is_allowed = allow_local and "\0" not in repository
    elif _SSH_SHORT.match(repository):
        scheme, is_allowed = "ssh", True
    else:
        scheme, is_allowed = _check_url(repository)
    if is_allowed:
        return
    *most, last = REMOTE_PROTOCOLS
    paths = ", or an absolute path" if allow_local else "; paths are not allowed here"
    raise Refusal(
        422,
        "repository_not_allowed",
        f"The address of the repository cannot be used ({scheme or 'no protocol'}). "
        f"Give a URL that begins with {', '.join(most)} or {last}{paths}.",
    )


def _check_url(repository: str) -> tuple[str, bool]:
    try:
        parts = urlsplit(repository)
        host, user, _ = parts.hostname or "", parts.username, parts.port
    except ValueError:
        return "no URL", False
    if parts.scheme not in REMOTE_PROTOCOLS:
        return parts.scheme[:40], False
    # A user name alone may be a token, too, except with ssh.
    if parts.password is not None or (user is not None and parts.scheme != "ssh"):
        raise Refusal(
            422,
            "secret_in_address",
            "The address of the repository names a user or a password, which would be "
            "stored and shown. Give it without; the operator can give git credentials.",
        )
    is_sound = (
        repository.startswith(f"{parts.scheme}://")
        and _HOST.match(host) is not None
        and (user is None or _USER.match(user) is not None)
        and not _UNPRINTABLE.search(repository)
    )
    return parts.scheme, is_sound


def check_revision(revision: str) -> None:
    """Refuse what is no name of a branch or tag and no commit."""
    if not _REVISION.match(revision) or ".." in revision or "@{" in revision:
        raise Refusal(
            422,
            "bad_revision",
            f"{revision[:250]!r} is no commit, branch or tag that could be asked for.",
        )


def check_path(path: str) -> None:
    """Refuse a path of a file that leads out of its source."""
    parts = path.split("/")
    if {"", ".", ".."} & set(parts) or path.startswith("-") or _UNPRINTABLE.search(path):
        raise Refusal(
            422,
            "bad_path",
            f"The configuration's path {path[:250]!r} must be relative, without '.', '..' "
            "and blanks.",
        )

"""Whether a password is the one that a line of an htpasswd file was made from.

bcrypt, sha-crypt ($5$, $6$) and Apache's apr1. Everything else, as plain text or DES, is
no hash here. Checking one takes long on purpose, so it is done in a thread.
"""

from __future__ import annotations

import re

import bcrypt
from passlib.hash import apr_md5_crypt, sha256_crypt, sha512_crypt

#: bcrypt looks at no more bytes of a password.
LONGEST = 72
#: Bytes of a password that nobody has.
_TOO_LONG = 4000
#: Two to this power is how often bcrypt goes round for new lines, and the most that a line
#: may ask for; and the most rounds of sha-crypt. More would keep a core busy for seconds.
COST, HIGHEST_COST, MOST_ROUNDS = 12, 15, 1_000_000

_BCRYPT = re.compile(r"\$2[aby]\$([0-9]{2})\$[./A-Za-z0-9]{53}\Z")
_SHA = re.compile(
    r"\$[56]\$(?:rounds=([0-9]{1,9})\$)?[./A-Za-z0-9]{1,16}\$[./A-Za-z0-9]+\Z"
)
_APR1 = re.compile(r"\$apr1\$[./A-Za-z0-9]{1,8}\$[./A-Za-z0-9]{22}\Z")


class BadPassword(Exception):
    """No hash is made of this password: whoever chose it has to choose another."""


def is_hash(text: str) -> bool:
    """Whether `verify` can check a password against ``text``."""
    if (found := _BCRYPT.match(text)) is not None:
        return 4 <= int(found[1]) <= HIGHEST_COST
    if (found := _SHA.match(text)) is not None:
        if len(text) - text.rindex("$") - 1 != (43 if text[1] == "5" else 86):
            return False
        return found[1] is None or 1000 <= int(found[1]) <= MOST_ROUNDS
    return _APR1.match(text) is not None


def verify(password: str, line: str) -> bool:
    """Whether ``line``, which `is_hash`, was made from ``password``. Takes long."""
    given = password.encode("utf-8", "surrogatepass")
    if b"\0" in given or len(given) > _TOO_LONG:
        return False
    if line.startswith("$2"):
        return bcrypt.checkpw(given[:LONGEST], line.encode())
    for kind, mark in (
        (sha512_crypt, "$6$"),
        (sha256_crypt, "$5$"),
        (apr_md5_crypt, "$apr1$"),
    ):
        if line.startswith(mark):
            return bool(kind.verify(given, line))
    return False


def new_hash(password: str) -> str:
    """A line's second half for ``password``, with bcrypt; `BadPassword`."""
    given = password.encode("utf-8", "surrogatepass")
    if not given:
        raise BadPassword("an empty password opens the door to everybody")
    if b"\0" in given:
        raise BadPassword("a password cannot have the character NUL")
    if len(given) > LONGEST:
        raise BadPassword(
            f"bcrypt looks at {LONGEST} bytes of a password; this one has {len(given)}"
        )
    return bcrypt.hashpw(given, bcrypt.gensalt(COST)).decode()

"""What a browser keeps while somebody is sent to a provider and comes back.

Nothing of it is kept here, so that nobody can fill anything by beginning logins. The cookie
has a random seed, the time and the place to go on, signed with a secret that all masters of
the farm share; state, nonce and the verifier of PKCE are made from the seed and the secret.
So a callback works only in the browser that began, at any master, for ten minutes.
"""

from __future__ import annotations

import base64
import hashlib
import hmac
import re
import secrets
from dataclasses import dataclass

#: Seconds for which somebody may be away.
LASTS = 600

_COOKIE = re.compile(
    r"([A-Za-z0-9_-]{43})\.([0-9]{1,12})\.([A-Za-z0-9_-]*)\.([0-9a-f]{64})\Z"
)


@dataclass(frozen=True)
class Errand:
    """One login that was begun."""

    seed: str
    began: int
    following: str  #: where to go on afterwards
    key: bytes

    @property
    def state(self) -> str:
        """What the provider sends back with the browser."""
        return self._made("state")

    @property
    def nonce(self) -> str:
        """What the ID token has to repeat."""
        return self._made("nonce")

    @property
    def verifier(self) -> str:
        """What shows the provider that who has the code is who began (PKCE)."""
        return self._made("verifier")

    @property
    def challenge(self) -> str:
        """What the provider is told of the verifier beforehand."""
        return _text(hashlib.sha256(self.verifier.encode()).digest())

    @property
    def cookie(self) -> str:
        """The value for the browser."""
        told = f"{self.seed}.{self.began}.{_text(self.following.encode())}"
        return f"{told}.{_sign(self.key, f'cookie.{told}').hex()}"

    def _made(self, what: str) -> str:
        return _text(_sign(self.key, f"{what}.{self.seed}.{self.began}"))


class Errands:
    """Begins them, and knows them again."""

    def __init__(self, secret: str) -> None:
        """``secret`` is the farm's; all masters have the same."""
        self._key = hmac.new(secret.encode(), b"errands", hashlib.sha256).digest()

    def begin(self, following: str, now: float) -> Errand:
        """A new one."""
        return Errand(secrets.token_urlsafe(32), int(now), following, self._key)

    def find(self, cookie: str | None, now: float) -> Errand | None:
        """The one that this cookie is of; None if it is over, or none of ours."""
        found = _COOKIE.match(cookie or "")
        if found is None:
            return None
        told = found[0].rpartition(".")[0]
        if not hmac.compare_digest(_sign(self._key, f"cookie.{told}").hex(), found[4]):
            return None
        if not int(found[2]) <= now + 60 or now > int(found[2]) + LASTS:
            return None
        following = base64.urlsafe_b64decode(found[3] + "=" * (-len(found[3]) % 4))
        return Errand(found[1], int(found[2]), following.decode(), self._key)


def _sign(key: bytes, text: str) -> bytes:
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


def _text(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")

"""Whether an ID token is what it says: signed by the provider, for us, now, and asked for.

OpenID Connect Core 1.0, section 3.1.3.7. Pure: the time is given.
"""

from __future__ import annotations

import hmac
from collections.abc import Mapping, Sequence
from typing import Any

from joserfc import jws, jwt
from joserfc.errors import JoseError
from joserfc.jwk import import_key

#: What a provider may sign with, and the kind of key for it. No "none", and nothing with
#: a shared secret: for that the public key of another kind could be taken.
ALGORITHMS: Mapping[str, str] = {"RS256": "RSA", "ES256": "EC"}
#: Bytes of a token, keys of a provider, bits of an RSA key.
LONGEST, MOST_KEYS, FEWEST_BITS = 64 * 1024, 50, 2048
#: Seconds by which clocks may differ, and for which a token is fresh.
LEEWAY, FRESH = 60.0, 600.0


class BadIdToken(Exception):
    """The token is not to be trusted; the sentence says why. The provider's fault."""


class UnknownKey(BadIdToken):
    """No key that is known signed it: the provider may have new ones."""


def checked_claims(
    token: str,
    keys: Sequence[Mapping[str, Any]],
    *,
    issuer: str,
    client_id: str,
    nonce: str,
    now: float,
) -> Mapping[str, Any]:
    """What ``token`` claims, if all is as it should be; `BadIdToken`.

    ``keys`` are the public keys of the provider, as it publishes them.
    """
    claims = _signed_claims(token, keys)
    if claims.get("iss") != issuer:
        raise BadIdToken("it is from another issuer")
    _check_audience(claims, client_id)
    _check_times(claims, now)
    given = claims.get("nonce")
    if not isinstance(given, str) or not _same(given, nonce):
        raise BadIdToken("it does not answer what was asked (its nonce is another)")
    subject = claims.get("sub")
    if not isinstance(subject, str) or not subject:
        raise BadIdToken("it names nobody (sub)")
    return claims


def _signed_claims(token: str, keys: Sequence[Mapping[str, Any]]) -> Mapping[str, Any]:
    if len(token) > LONGEST or not token.isascii():
        raise BadIdToken("it is too long, or no token at all")
    try:
        header = jws.extract_compact(token.encode()).headers()
    except (JoseError, ValueError, TypeError, AttributeError) as error:
        raise BadIdToken("it is not a signed token") from error
    algorithm = header.get("alg")
    if not isinstance(algorithm, str) or algorithm not in ALGORITHMS:
        raise BadIdToken("it is signed with an algorithm that is not taken here")
    wanted = header.get("kid")
    for each in keys[:MOST_KEYS]:
        if not _fits(each, ALGORITHMS[algorithm], wanted):
            continue
        try:
            public = {name: each[name] for name in _PUBLIC[each["kty"]]}
            found = jwt.decode(token, import_key(public), algorithms=[algorithm])
        except (JoseError, ValueError, TypeError, KeyError):
            continue
        if not isinstance(found.claims, dict):
            raise BadIdToken("it claims nothing")
        return found.claims
    raise UnknownKey("none of the provider's keys signed it")


_PUBLIC = {"RSA": ("kty", "n", "e"), "EC": ("kty", "crv", "x", "y")}


def _fits(key: Mapping[str, Any], kind: str, wanted: object) -> bool:
    if key.get("kty") != kind or key.get("use", "sig") != "sig":
        return False
    if wanted is not None and key.get("kid") != wanted:
        return False
    if kind == "EC":
        return key.get("crv") == "P-256"
    modulus = key.get("n")
    # Four characters of base64 are three bytes.
    return isinstance(modulus, str) and len(modulus) * 6 >= FEWEST_BITS


def _check_audience(claims: Mapping[str, Any], client_id: str) -> None:
    audience = claims.get("aud")
    whole = [audience] if isinstance(audience, str) else audience
    if not isinstance(whole, list) or client_id not in whole:
        raise BadIdToken("it is for another program (its audience is another)")
    party = claims.get("azp")
    if (len(whole) > 1 or party is not None) and party != client_id:
        raise BadIdToken("it was given to another program (azp)")


def _check_times(claims: Mapping[str, Any], now: float) -> None:
    expires, issued = _time(claims, "exp"), _time(claims, "iat")
    if expires is None or issued is None:
        raise BadIdToken("it does not say when it was made and until when it is good")
    if expires <= now - LEEWAY:
        raise BadIdToken("it is good no more: its time is over")
    if issued > now + LEEWAY:
        raise BadIdToken("it was made in the future: compare the two clocks")
    if issued < now - FRESH:
        raise BadIdToken("it was made long ago: compare the two clocks")
    begins = _time(claims, "nbf")
    if begins is not None and begins > now + LEEWAY:
        raise BadIdToken("it is not good yet: compare the two clocks")


def _time(claims: Mapping[str, Any], name: str) -> float | None:
    value = claims.get(name)
    if value is None:
        return None
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise BadIdToken(f"its {name} is no time")
    return float(value)


def _same(one: str, other: str) -> bool:
    return hmac.compare_digest(one.encode("utf-8", "surrogatepass"), other.encode())

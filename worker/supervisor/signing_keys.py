"""Signing keys of PPAs, as Launchpad's interface tells them."""

from __future__ import annotations

from collections.abc import Mapping

import msgspec

from worker.supervisor.endings import CannotRun

_LIMIT = 256 * 1024
#: Seconds without an answer.
_TIMEOUT = 30.0
_ARMOUR = "-----BEGIN PGP PUBLIC KEY BLOCK-----"


def full_name(ppa: str) -> str:
    """``OWNER/DISTRIBUTION/NAME`` of a PPA that may leave out the distribution."""
    owner, *distribution, name = ppa.split("/")
    return "/".join([owner, distribution[0] if distribution else "ubuntu", name])


def fetch_key(ppa: str, interface: str, proxies: Mapping[str, str], who: str) -> bytes:
    """The armoured public key that signs ``ppa``; `CannotRun` names the URL it is not at.

    ``proxies`` are variables such as ``https_proxy``.
    """
    # Takes long to import, and hardly any build needs it.
    from http.client import HTTPException
    from urllib.parse import quote
    from urllib.request import ProxyHandler, build_opener, getproxies

    owner, distribution, name = map(quote, full_name(ppa).split("/"))
    base = interface.rstrip("/")
    url = f"{base}/~{owner}/+archive/{distribution}/{name}?ws.op=getSigningKeyData"
    through = {
        **getproxies(),
        **{
            variable.lower().removesuffix("_proxy"): value
            for variable, value in proxies.items()
            if variable.lower().endswith("_proxy")
        },
    }
    try:
        with build_opener(ProxyHandler(through)).open(url, timeout=_TIMEOUT) as answer:
            key = msgspec.json.decode(answer.read(_LIMIT), type=str)
    except (OSError, HTTPException, ValueError) as error:
        raise _missing(who, ppa, url, str(error)) from error
    if _ARMOUR not in key:
        raise _missing(who, ppa, url, "what is there is no key")
    return key.encode()


def _missing(who: str, ppa: str, url: str, why: str) -> CannotRun:
    return CannotRun(
        f"{who} names the PPA {ppa}, but the key that signs it could not be fetched from "
        f"{url}: {why[:300]}; the worker's operator must open the way there, or set "
        f"trusted_ppas: [{ppa}]"
    )

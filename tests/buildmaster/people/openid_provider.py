"""An OpenID provider of the tests' own: real signatures, a real port, and bad manners."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
import secrets
import time
import warnings
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import parse_qs, urlencode, urlsplit

from joserfc import jwt
from joserfc.jwk import ECKey, RSAKey
from twisted.internet import reactor
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Site

CLIENT, SECRET = "headrace", "between us: a+b/c"
#: Making an RSA key takes its time; tests share these.
RSA = RSAKey.generate_key(2048, parameters={"kid": "rsa-1", "use": "sig"})
SECOND = RSAKey.generate_key(2048, parameters={"kid": "rsa-2", "use": "sig"})
with warnings.catch_warnings(action="ignore"):
    SMALL = RSAKey.generate_key(1024, parameters={"kid": "small", "use": "sig"})
EC = ECKey.generate_key("P-256", parameters={"kid": "ec-1", "use": "sig"})


def b64(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).decode().rstrip("=")


@dataclass
class OpenIdProvider:
    """Knows one user, and answers as a test wants it to."""

    issuer: str = ""
    user: dict[str, Any] = field(
        default_factory=lambda: {
            "sub": "4711",
            "preferred_username": "grace",
            "name": "Grace Hopper",
            "groups": ["/builders", "staff"],
        }
    )
    key: Any = field(default_factory=lambda: RSA)
    published: list[Any] = field(default_factory=lambda: [RSA, EC])
    algorithm: str = "RS256"
    header: dict[str, Any] = field(default_factory=dict)
    #: Changes the claims before they are signed.
    twist: Callable[[dict[str, Any]], None] = lambda claims: None
    #: Makes a token of claims; None: sign it as one should.
    forge: Callable[[dict[str, Any]], str] | None = None
    #: By the path, what is answered instead: a function of the request.
    instead: dict[str, Callable[[Any], Any]] = field(default_factory=dict)
    about: dict[str, Any] = field(default_factory=dict)
    asked: list[str] = field(default_factory=list)
    codes: dict[str, dict[str, str]] = field(default_factory=dict)

    def listen(self) -> Any:
        port: Any = reactor
        listening = port.listenTCP(0, Site(_Pages(self)), interface="127.0.0.1")
        self.issuer = f"http://127.0.0.1:{listening.getHost().port}"
        return listening

    def document(self) -> dict[str, Any]:
        return {
            "issuer": self.issuer,
            "authorization_endpoint": f"{self.issuer}/authorize?tenant=1",
            "token_endpoint": f"{self.issuer}/token",
            "jwks_uri": f"{self.issuer}/jwks",
            **self.about,
        }

    def authorize(self, where: str) -> str:
        """What a browser does that is sent ``where``: log in there, and be sent back."""
        query = {name: each[0] for name, each in parse_qs(urlsplit(where).query).items()}
        assert query["client_id"] == CLIENT and query["response_type"] == "code", query
        assert query["code_challenge_method"] == "S256" and query["tenant"] == "1", query
        code = secrets.token_urlsafe(16)
        self.codes[code] = query
        back = {"code": code, "state": query["state"], "session_state": "x y"}
        return f"{query['redirect_uri']}?{urlencode(back)}"

    def token(self, form: dict[str, str], authorization: str | None) -> dict[str, Any]:
        """The answer of the token's address; a code is good once."""
        whole = f"{CLIENT}:between%20us%3A%20a%2Bb%2Fc".encode()
        by_header = authorization == f"Basic {base64.b64encode(whole).decode()}"
        by_form = (form.get("client_id"), form.get("client_secret")) == (CLIENT, SECRET)
        begun = self.codes.pop(form.get("code", ""), None)
        if not (by_header or by_form) or begun is None:
            return {"error": "invalid_grant"}
        challenge = b64(hashlib.sha256(form["code_verifier"].encode()).digest())
        if challenge != begun["code_challenge"]:
            return {"error": "invalid_grant", "why": "PKCE"}
        if form["redirect_uri"] != begun["redirect_uri"]:
            return {"error": "invalid_grant", "why": "redirect_uri"}
        now = int(time.time())
        claims = {
            "iss": self.issuer,
            "aud": CLIENT,
            "iat": now,
            "exp": now + 300,
            "nonce": begun["nonce"],
            **self.user,
        }
        self.twist(claims)
        made = self.forge(claims) if self.forge else self.sign(claims)
        return {"access_token": "x", "token_type": "Bearer", "id_token": made}

    def sign(self, claims: dict[str, Any]) -> str:
        header = {"alg": self.algorithm, "kid": self.key.kid, **self.header}
        header = {name: value for name, value in header.items() if value is not None}
        return jwt.encode(header, claims, self.key, algorithms=[self.algorithm])


def unsigned(claims: dict[str, Any]) -> str:
    """A token with the algorithm none."""
    return (
        f"{b64(json.dumps({'alg': 'none'}).encode())}.{b64(json.dumps(claims).encode())}."
    )


def signed_with_the_public_key(claims: dict[str, Any]) -> str:
    """HS256, whose shared secret is the public key, which everybody has."""
    head = b64(json.dumps({"alg": "HS256", "kid": "rsa-1"}).encode())
    told = f"{head}.{b64(json.dumps(claims).encode())}"
    # A library would not: the key is not to be used so.
    seal = hmac.new(RSA.as_pem(private=False), told.encode(), hashlib.sha256).digest()
    return f"{told}.{b64(seal)}"


class _Pages(Resource):
    isLeaf = True  # noqa: N815

    def __init__(self, provider: OpenIdProvider) -> None:
        super().__init__()
        self._provider = provider

    def render(self, request: Any) -> Any:
        path = request.path.decode()
        provider = self._provider
        provider.asked.append(path)
        if path in provider.instead:
            return provider.instead[path](request)
        told: dict[str, Any] = {}
        if path == "/.well-known/openid-configuration":
            told = provider.document()
        elif path == "/jwks":
            keys = [key.as_dict(private=False) for key in provider.published]
            told = {"keys": keys}
        elif path == "/token":
            form = {k.decode(): v[0].decode() for k, v in request.args.items()}
            told = provider.token(form, request.getHeader("Authorization"))
            if "error" in told:
                request.setResponseCode(400)
        else:
            request.setResponseCode(404)
        request.setHeader("Content-Type", "application/json")
        return json.dumps(told).encode()


def never(request: Any) -> Any:
    """An answer that does not come."""
    request.notifyFinish().addErrback(lambda gone: None)
    return NOT_DONE_YET


def drop_by_drop(request: Any) -> Any:
    """One that begins, and never ends."""
    request.notifyFinish().addErrback(lambda gone: None)
    request.write(b'{"keys": [')
    return NOT_DONE_YET


def huge(request: Any) -> Any:
    """One that is much too long."""
    request.notifyFinish().addErrback(lambda gone: None)
    request.write(b'{"keys": [' + b" " * 2_000_000 + b"]}")
    return NOT_DONE_YET

"""What an operator says of people: what is wrong is told with its place."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from buildmaster.config import ConfigError, MasterConfig, read_config

_PROXY = {"header": "X-User", "from": ["127.0.0.1"]}
_OIDC = {
    "issuer": "https://id.example/realms/x",
    "client_id": "headrace",
    "client_secret_file": "secret",
}
_ADA = {"user": "ada", "role": "reader"}


class SettingsTests(SynchronousTestCase):
    def read(self, people: Any) -> MasterConfig:
        path = Path(self.mktemp())
        path.write_text(yaml.safe_dump({"data": ".", "people": people}))
        return read_config(path)

    def test_good_ones_are_taken(self) -> None:
        for people in (
            {"htpasswd": "htpasswd"},
            {"htpasswd": "htpasswd", "roles": [_ADA], "stay": 3600},
            {"proxy": {**_PROXY, "groups_header": "X-Groups"}},
            {"proxy": {**_PROXY, "secret_header": "X-S", "secret_file": "f"}},
            {"oidc": _OIDC, "roles": [{"group": "staff", "role": "operator"}]},
            {"oidc": {**_OIDC, "issuer": "http://127.0.0.1:8080"}},
            {
                "oidc": _OIDC,
                "htpasswd": "h",
                "roles": [{**_ADA, "way": "oidc", "project": "https://example.com/a"}],
            },
        ):
            self.assertIsNotNone(self.read(people).people)

    def test_what_is_wrong_is_told(self) -> None:
        for people, words in (
            ({}, "at least one of"),
            ({"htpaswd": "x"}, "unknown field `htpaswd`"),
            ({"htpasswd": "x", "stay": 1}, "stay"),
            ({"htpasswd": "x", "roles": [{**_ADA, "role": "king"}]}, "king"),
            ({"htpasswd": "x", "roles": [{**_ADA, "rolle": "x"}]}, "unknown field `rolle`"),
            ({"htpasswd": "x", "roles": [{"role": "reader"}]}, r"roles\[0\].*either"),
            ({"htpasswd": "x", "roles": [_ADA, {**_ADA, "group": "g"}]}, r"roles\[1\]"),
            ({"htpasswd": "x", "roles": [{**_ADA, "user": "a\nb"}]}, "is no name"),
            ({"htpasswd": "x", "roles": [{**_ADA, "way": "oidc"}]}, "not set up"),
            (
                {
                    "htpasswd": "x",
                    "roles": [{"group": "g", "role": "reader", "way": "htpasswd"}],
                },
                "knows no groups",
            ),
            ({"htpasswd": "x", "roles": [{**_ADA, "project": ""}]}, "empty"),
            (
                {"htpasswd": "x", "roles": [{**_ADA, "role": "admin", "project": "p"}]},
                "whole farm",
            ),
            # The same name may be somebody else's at the provider.
            ({"htpasswd": "x", "oidc": _OIDC, "roles": [_ADA]}, "say which with way"),
            ({"proxy": {"header": "X-User"}}, "from"),
            ({"proxy": {**_PROXY, "from": []}}, "from"),
            (
                {"proxy": {**_PROXY, "from": ["proxy.example"]}},
                "neither address nor network",
            ),
            ({"proxy": {**_PROXY, "from": ["0.0.0.0/0"]}}, "everybody"),
            ({"proxy": {**_PROXY, "from": ["::/0"]}}, "everybody"),
            ({"proxy": {**_PROXY, "header": "X User"}}, "header"),
            ({"proxy": {**_PROXY, "header": "Cookie"}}, "another meaning"),
            ({"proxy": {**_PROXY, "groups_header": "x-user"}}, "name of its own"),
            ({"proxy": {**_PROXY, "secret_header": "X-S"}}, "go together"),
            ({"oidc": {**_OIDC, "issuer": "http://id.example"}}, "https address"),
            ({"oidc": {**_OIDC, "issuer": "https://id.example/?a=b"}}, "neither a query"),
            ({"oidc": {**_OIDC, "issuer": "id.example"}}, "https address"),
            ({"oidc": {**_OIDC, "scopes": ["profile"]}}, "must have openid"),
        ):
            with self.assertRaisesRegex(ConfigError, words):
                self.read(people)

    def test_who_reaches_the_farm_with_tls_gets_cookies_for_that(self) -> None:
        config = self.read({"htpasswd": "x"})
        self.assertFalse(config.is_secure)

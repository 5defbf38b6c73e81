"""People who come from a provider, and everything that can be wrong with that."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs, urlsplit

from twisted.internet import reactor
from twisted.internet.defer import Deferred

from buildmaster.people.provider import Provider
from buildmaster.people.roles import Role, RoleEntry
from buildmaster.people.settings import Oidc
from tests.buildmaster.people.openid_provider import (
    CLIENT,
    EC,
    RSA,
    SECOND,
    SECRET,
    SMALL,
    OpenIdProvider,
    drop_by_drop,
    huge,
    never,
    signed_with_the_public_key,
    unsigned,
)
from tests.buildmaster.people.people_site import TEAM, PeopleCase


class OidcCase(PeopleCase):
    more_settings: dict[str, Any] = {}

    def yet_more(self) -> dict[str, Any]:
        self.openid = OpenIdProvider()
        listening = self.openid.listen()
        self.addCleanup(listening.stopListening)
        self.settings = Oidc(
            issuer=self.openid.issuer,
            client_id=CLIENT,
            client_secret_file="secret",
            **self.more_settings,
        )
        self.skew = 0.0
        self.provider = Provider(
            self.settings, SECRET, reactor, lambda: time.time() + self.skew, patience=2.0
        )
        return {"provider": self.provider}

    async def begin(self, path: str = "/login/oidc", **headers: str) -> tuple[str, str]:
        """Where the browser is sent, and the cookie that it keeps meanwhile."""
        response = await self.get(path, **headers)
        self.assertEqual(response.code, 303, await response.text())
        [where] = response.headers.getRawHeaders("Location")
        [line] = response.headers.getRawHeaders("Set-Cookie")
        return where, line.partition(";")[0]

    async def come_back(self, back: str, cookie: str | None) -> Any:
        parts = urlsplit(back)
        headers = {} if cookie is None else {"Cookie": cookie}
        return await self.ask("GET", f"{parts.path}?{parts.query}", headers=headers)

    async def log_in_there(self) -> Any:
        where, cookie = await self.begin()
        return await self.come_back(self.openid.authorize(where), cookie)

    def cookies(self, response: Any) -> dict[str, str]:
        lines = response.headers.getRawHeaders("Set-Cookie") or []
        found = {}
        for line in lines:
            name, _, value = line.partition(";")[0].partition("=")
            found[name] = value
        return found

    async def refused(self, response: Any, status: int, words: str) -> None:
        """Nobody was logged in, and the page says why."""
        text = await response.text()
        self.assertEqual(response.code, status, text)
        self.assertRegex(text, words)
        self.assertIn('role="alert"', text)
        self.assertNotIn("headrace", self.cookies(response))
        self.assertEqual(await self.database.rows("SELECT FROM stay"), [])


class LoginTests(OidcCase):
    async def test_who_comes_from_the_provider_is_who_it_says(self) -> None:
        self.roles += [
            RoleEntry(role=Role.READER, group="staff"),
            RoleEntry(role=Role.OPERATOR, group="/builders", project=TEAM),
            RoleEntry(role=Role.ADMIN, group="others"),
        ]
        where, cookie = await self.begin("/login/oidc?next=/%23/runs/7")
        query = parse_qs(urlsplit(where).query)
        self.assertEqual(query["scope"], ["openid profile"])
        self.assertEqual(query["redirect_uri"], [f"{self.url}/login/oidc/callback"])
        response = await self.come_back(self.openid.authorize(where), cookie)
        self.assertEqual(response.code, 303, await response.text())
        self.assertEqual(response.headers.getRawHeaders("Location"), ["/#/runs/7"])
        cookies = self.cookies(response)
        self.assertEqual(cookies["headrace-login"], "")
        told = await self.me({"Cookie": f"headrace={cookies['headrace']}"})
        self.assertEqual(
            (told["who"], told["by"], told["display"], told["groups"]),
            ("person grace", "oidc", "Grace Hopper", ["/builders", "staff"]),
        )
        self.assertEqual(
            [(held["role"], held["project"]) for held in told["grants"]],
            [("reader", None), ("operator", TEAM)],
        )
        self.assertEqual(await self.acts(), [("login", "person grace", "done")])

    async def test_the_page_and_me_name_the_way_there(self) -> None:
        text = await (await self.get("/login?next=/%23/jobs")).text()
        self.assertIn('href="/login/oidc?next=%2F%23%2Fjobs"', text)
        doors = (await self.me())["login"]
        self.assertEqual([door["kind"] for door in doors], ["htpasswd", "oidc"])

    async def test_keys_of_elliptic_curves_do_too(self) -> None:
        self.openid.key, self.openid.algorithm = EC, "ES256"
        self.assertEqual((await self.log_in_there()).code, 303)

    async def test_a_token_without_a_key_id_is_tried_with_all_keys(self) -> None:
        self.openid.published = [SECOND, EC, RSA]
        self.openid.header = {"kid": None}
        self.assertEqual((await self.log_in_there()).code, 303)

    async def test_a_provider_that_wants_the_secret_in_the_form_gets_it(self) -> None:
        self.openid.about = {
            "token_endpoint_auth_methods_supported": ["client_secret_post"]
        }
        self.assertEqual((await self.log_in_there()).code, 303)

    async def test_new_keys_of_the_provider_are_found(self) -> None:
        self.assertEqual((await self.log_in_there()).code, 303)
        self.openid.key, self.openid.published = SECOND, [SECOND]
        self.skew = 10.0
        self.assertEqual((await self.log_in_there()).code, 303)
        self.assertEqual(self.openid.asked.count("/jwks"), 2)
        self.assertEqual(self.openid.asked.count("/.well-known/openid-configuration"), 1)

    async def test_unknown_keys_do_not_make_it_ask_all_the_time(self) -> None:
        self.openid.key = SECOND
        for _ in range(4):
            await self.refused(await self.log_in_there(), 502, "none of the provider")
        self.assertEqual(self.openid.asked.count("/jwks"), 1)

    async def test_what_is_asked_for_in_vain_is_no_place_to_go_on(self) -> None:
        for place in ("//evil.example", "https://evil.example", "/\\evil.example"):
            response = await self.ask("GET", "/login/oidc", params={"next": place})
            await self.assert_problem(response, 400, "bad_next")


class TokenTests(OidcCase):
    """ID tokens that are not what they should be: somebody forged them, or worse."""

    async def try_token(self, words: str, **changes: Any) -> None:
        def twist(claims: dict[str, Any]) -> None:
            for name, value in changes.items():
                if value is None:
                    del claims[name]
                else:
                    claims[name] = value(claims) if callable(value) else value

        self.openid.twist = twist
        self.openid.codes.clear()
        await self.refused(await self.log_in_there(), 502, words)

    async def forget_failures(self) -> None:
        route, _ = self.site.front._routes.find("/login/oidc/callback")
        handler: Any = route.handlers["GET"]
        handler.__self__._knocks._failures.clear()

    async def test_claims_that_are_wrong(self) -> None:
        now = time.time()
        for words, changes in (
            ("nonce is another", {"nonce": "another"}),
            ("nonce is another", {"nonce": None}),
            ("nonce is another", {"nonce": 7}),
            ("audience is another", {"aud": "someone-else"}),
            ("audience is another", {"aud": None}),
            ("audience is another", {"aud": {"headrace": 1}}),
            ("given to another program", {"aud": [CLIENT, "someone-else"]}),
            ("given to another program", {"azp": "someone-else"}),
            ("another issuer", {"iss": "https://evil.example"}),
            ("another issuer", {"iss": lambda claims: claims["iss"] + "/"}),
            ("time is over", {"exp": now - 61}),
            ("is no time", {"exp": "tomorrow"}),
            ("is no time", {"exp": True}),
            ("does not say when", {"exp": None}),
            ("does not say when", {"iat": None}),
            ("in the future", {"iat": now + 120}),
            ("made long ago", {"iat": now - 3600}),
            ("not good yet", {"nbf": now + 120}),
            ("names nobody", {"sub": None}),
            ("names nobody", {"sub": 7}),
        ):
            await self.forget_failures()
            await self.try_token(words, **changes)

    async def test_clocks_may_differ_a_little(self) -> None:
        for skew in (-50.0, 50.0):
            self.skew = skew
            self.assertEqual((await self.log_in_there()).code, 303)

    async def test_signatures_that_are_none(self) -> None:
        other = OpenIdProvider(key=SECOND, header={"kid": "rsa-1"})

        def broken(claims: dict[str, Any]) -> str:
            head, body, _ = self.openid.sign(claims).split(".")
            return f"{head}.{body}.{'A' * 342}"

        def swapped(claims: dict[str, Any]) -> str:
            head, _, signature = self.openid.sign(claims).split(".")
            body = self.openid.sign({**claims, "preferred_username": "root"}).split(".")[1]
            return f"{head}.{body}.{signature}"

        def small(claims: dict[str, Any]) -> str:
            self.openid.published = [SMALL]
            return OpenIdProvider(key=SMALL).sign(claims)

        forgeries: tuple[tuple[str, Callable[[dict[str, Any]], str]], ...] = (
            ("algorithm that is not taken", unsigned),
            ("algorithm that is not taken", signed_with_the_public_key),
            ("none of the provider", other.sign),
            ("none of the provider", broken),
            ("none of the provider", swapped),
            ("not a signed token", lambda claims: "a.b.c"),
            ("not a signed token", lambda claims: ""),
            ("not a signed token", lambda claims: "a.b.c.d.e"),
            ("too long, or no token", lambda claims: "é"),
            ("too long, or no token", lambda claims: "x" * 100_000),
            ("none of the provider", small),
        )
        for words, forge in forgeries:
            await self.forget_failures()
            self.openid.forge = forge
            await self.refused(await self.log_in_there(), 502, words)

    async def test_a_key_in_the_token_itself_is_not_taken(self) -> None:
        self.openid.key = SECOND
        self.openid.header = {"kid": "rsa-1", "jwk": SECOND.as_dict(private=False)}
        await self.refused(await self.log_in_there(), 502, "not a signed token")
        self.openid.header = {"kid": "rsa-1", "jku": "http://127.0.0.1:1/keys"}
        await self.refused(await self.log_in_there(), 502, "none of the provider")

    async def test_shared_secrets_among_the_keys_are_passed_over(self) -> None:
        plain: list[Any] = [{"kty": "oct", "k": "c2VjcmV0", "kid": "rsa-1"}, 7, {}]
        self.openid.instead["/jwks"] = lambda request: json.dumps(
            {"keys": [plain[0], {"kty": "RSA", "n": "!!", "e": "AQAB", "kid": "rsa-1"}]}
        ).encode()
        await self.refused(await self.log_in_there(), 502, "none of the provider")

    async def test_names_that_cannot_be_taken(self) -> None:
        for name in ("", "a\nb", "a\u202eb", " ada", "x" * 201, 7, None):
            await self.forget_failures()
            self.openid.user["preferred_username"] = name
            await self.refused(await self.log_in_there(), 403, "no name that can be taken")


class BrowserTests(OidcCase):
    """What somebody tries with a browser of their own, or with that of a victim."""

    async def test_a_callback_in_another_browser_logs_nobody_in(self) -> None:
        """Login CSRF: a victim is sent to the callback of the attacker's own login."""
        where, _ = await self.begin()
        back = self.openid.authorize(where)
        _, victims = await self.begin()
        for cookie in (None, victims, "headrace-login=", "headrace-login=x.1.x.x"):
            response = await self.come_back(back, cookie)
            await self.refused(response, 400, "not begun in this browser")
        self.assertEqual(self.openid.asked.count("/token"), 0)

    async def test_a_state_that_was_changed_is_none(self) -> None:
        where, cookie = await self.begin()
        back = self.openid.authorize(where)
        for state in ("", "x", "%C3%A9"):
            query = f"code=x&state={state}"
            response = await self.come_back(f"{back.partition('?')[0]}?{query}", cookie)
            await self.refused(response, 400, "not begun in this browser")

    async def test_a_cookie_that_was_changed_is_none(self) -> None:
        where, cookie = await self.begin("/login/oidc?next=/a")
        back = self.openid.authorize(where)
        seed, began, place, mac = cookie.partition("=")[2].split(".")
        for parts in (
            (seed, began, "Ly9ldmlsLmV4YW1wbGU", mac),
            (seed, str(int(began) + 1), place, mac),
            ("A" * 43, began, place, mac),
            (seed, began, place, "0" * 64),
        ):
            changed = f"headrace-login={'.'.join(parts)}"
            response = await self.come_back(back, changed)
            await self.refused(response, 400, "not begun in this browser")

    async def test_a_callback_that_is_played_again_logs_nobody_in(self) -> None:
        where, cookie = await self.begin()
        back = self.openid.authorize(where)
        self.assertEqual((await self.come_back(back, cookie)).code, 303)
        await self.stays.end_all_of("grace")
        response = await self.come_back(back, cookie)
        await self.refused(response, 502, "status 400")

    async def test_a_code_that_another_began_is_worth_nothing(self) -> None:
        """PKCE: the attacker has the victim's code, and a login of their own."""
        where, _ = await self.begin()
        stolen = parse_qs(urlsplit(self.openid.authorize(where)).query)["code"][0]
        mine, cookie = await self.begin()
        state = parse_qs(urlsplit(mine).query)["state"][0]
        response = await self.ask(
            "GET",
            "/login/oidc/callback",
            params={"code": stolen, "state": state},
            headers={"Cookie": cookie},
        )
        await self.refused(response, 502, "status 400")

    async def test_a_login_that_took_too_long_begins_anew(self) -> None:
        where, cookie = await self.begin()
        back = self.openid.authorize(where)
        later = time.time() + 601
        self.patch(time, "time", lambda: later)
        response = await self.come_back(back, cookie)
        await self.refused(response, 400, "too long ago")

    async def test_another_issuer_in_the_callback_is_refused(self) -> None:
        """A mix-up: the browser was sent back by a provider that was not asked."""
        where, cookie = await self.begin()
        back = self.openid.authorize(where) + "&iss=https%3A%2F%2Fevil.example"
        await self.refused(await self.come_back(back, cookie), 400, "not begun")

    async def test_what_the_provider_says_is_not_shown_as_ours(self) -> None:
        for error, words in (
            ("access_denied", "let nobody in: access_denied"),
            ("<b>call%20555</b>", "no reason that can be shown"),
        ):
            where, cookie = await self.begin()
            state = parse_qs(urlsplit(where).query)["state"][0]
            path = f"/login/oidc/callback?state={state}&error={error}"
            response = await self.ask(
                "GET", f"{path}&error_description=call+555", headers={"Cookie": cookie}
            )
            text = await response.text()
            self.assertNotIn("555", text)
            await self.refused(response, 403, words)

    async def test_who_fails_often_has_to_wait(self) -> None:
        for _ in range(10):
            await self.come_back("/login/oidc/callback?code=x&state=y", None)
        count = len(await self.acts())
        response = await self.log_in_there()
        await self.refused(response, 429, "wait a minute")
        self.assertEqual(len(await self.acts()), count)


class ProviderTests(OidcCase):
    """A provider that is slow, huge, elsewhere or gone: a login fails, and nothing else."""

    async def test_answers_that_are_none(self) -> None:
        def elsewhere(request: Any) -> Any:
            request.redirect(b"http://127.0.0.1:1/elsewhere")
            return b""

        for path in ("/token", "/jwks"):
            for instead, words in (
                (elsewhere, "status 302"),
                (huge, "too long"),
                (lambda request: b"[]", "not what it should be"),
                (lambda request: b"<html>", "not what it should be"),
                (lambda request: b'{"id_token": 7, "keys": 7}', "not what it should be"),
            ):
                self.openid.instead = {path: instead}
                await self.refused(await self.log_in_there(), 502, words)
            self.provider._keys = None
            route, _ = self.site.front._routes.find("/login/oidc/callback")
            handler: Any = route.handlers["GET"]
            handler.__self__._knocks._failures.clear()

    async def test_answers_that_do_not_come(self) -> None:
        self.provider._patience = 0.2
        for path, instead in (("/token", never), ("/jwks", drop_by_drop)):
            self.openid.instead = {path: instead}
            await self.refused(await self.log_in_there(), 502, "does not answer")

    async def test_a_provider_that_is_another_is_not_asked(self) -> None:
        for about, words in (
            ({"issuer": "https://evil.example"}, "another issuer"),
            ({"token_endpoint": "ftp://127.0.0.1/"}, "without TLS"),
        ):
            self.openid.about = about
            response = await self.get("/login/oidc")
            await self.refused(response, 502, words)

    async def test_others_are_served_meanwhile(self) -> None:
        self.openid.instead = {"/.well-known/openid-configuration": never}
        self.provider._patience = 0.5
        waiting = Deferred.fromCoroutine(self.get("/login/oidc"))
        self.assertEqual((await self.get("/healthz")).code, 200)
        await self.log_in()
        self.assertEqual((await waiting).code, 502)

    async def test_a_provider_that_is_gone_is_told_as_such(self) -> None:
        self.settings = Oidc(
            issuer="http://127.0.0.1:1", client_id=CLIENT, client_secret_file="x"
        )
        self.provider.settings = self.settings
        response = await self.get("/login/oidc")
        await self.refused(response, 502, "cannot be reached")


class MailTests(OidcCase):
    more_settings = {"name_claim": "email"}

    async def test_an_address_that_nobody_made_sure_of_is_no_name(self) -> None:
        self.openid.user |= {"email": "root@example.com", "email_verified": False}
        await self.refused(await self.log_in_there(), 403, "not made sure")
        self.openid.user["email_verified"] = "true"
        await self.refused(await self.log_in_there(), 403, "not made sure")
        self.openid.user["email_verified"] = True
        self.assertEqual((await self.log_in_there()).code, 303)


class SecureTests(OidcCase):
    is_secure = True

    async def test_under_tls_the_cookie_of_a_login_is_this_hosts_alone(self) -> None:
        response = await self.get("/login/oidc")
        [line] = response.headers.getRawHeaders("Set-Cookie")
        self.assertTrue(line.startswith("__Host-headrace-login="), line)
        self.assertTrue(line.endswith("; Secure"), line)
        [where] = response.headers.getRawHeaders("Location")
        redirect = parse_qs(urlsplit(where).query)["redirect_uri"][0]
        self.assertTrue(redirect.startswith("https://127.0.0.1:"), redirect)

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from worker.supervisor.endings import CannotRun, Malformed
from worker.supervisor.rendering import needs_secrets, render, userinfo

SECRETS = {"token": "ann:h/sh", "other": "x"}


def rendered(line: str) -> str:
    [result] = render((line,), SECRETS, "It", "in this file")
    return result


class RenderTests(SynchronousTestCase):
    def test_names_in_braces_stand_for_secrets(self) -> None:
        self.assertEqual(
            rendered("deb https://{{token}}@example.org/{{ other }} jammy main"),
            "deb https://ann:h/sh@example.org/x jammy main",
        )

    def test_a_secret_can_be_made_fit_for_a_url(self) -> None:
        self.assertEqual(rendered("{{token|urlencode}}"), "ann%3Ah/sh")

    def test_a_line_without_braces_stays_as_it_is(self) -> None:
        line = "deb http://example.org/{x} jammy main"
        self.assertFalse(needs_secrets(line))
        self.assertEqual(rendered(line), line)

    def test_a_secret_that_is_not_set_is_named(self) -> None:
        for line in ("{{gone}}", "{{gone|trim}}", "{{range}}", "{{self}}"):
            error: CannotRun = self.assertRaises(CannotRun, rendered, line)
            self.assertRegex(error.reason, "^It needs the secret (gone|range|self), which")
            self.assertIn("not set in this file", error.reason)

    def test_everything_else_of_jinja_is_refused_and_no_secret_told(self) -> None:
        """Whoever writes a line may be a stranger, and the worker is root."""
        for line in (
            "{{'a'*10**9}}",
            "{{token*9}}",
            "{{token.__class__}}",
            "{{token[0]}}",
            "{{token|center(10**9)}}",
            "{{token|attr('x')}}",
            "{{token()}}",
            "{%for i in token%}x{%endfor%}",
            "{%include 'x'%}",
            "{%set token='x'%}{{token}}",
            "{{token",
            "{{}}",
            "{%",
            "{{token if token else token}}",
            "{{" + "(" * 2000 + "token" + ")" * 2000 + "}}",
            "{{token}}" + "x" * 5000,
            "{{token}}\nnext line",
        ):
            error: Malformed = self.assertRaises(Malformed, rendered, line)
            self.assertIn("only the name of a secret", error.reason)
            self.assertNotIn("h/sh", error.reason)

    def test_who_a_url_says_one_is_is_found(self) -> None:
        self.assertEqual(
            userinfo("deb http://ann:hush@a/x http://t@b/"), {"ann:hush", "hush", "t"}
        )

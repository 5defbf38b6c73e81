"""The whole path over TLS: the same farm, and nothing in the clear."""

from __future__ import annotations

import json
import stat

from twisted.trial.unittest import TestCase

from tests.farm import HELLO, environment, farm, headrace


class TLSTests(TestCase):
    timeout = 120

    async def test_a_farm_that_speaks_nothing_but_tls(self) -> None:
        started = await farm(self, "--tls")
        addresses = json.loads((started.folder / "addresses.json").read_text())
        self.assertTrue(addresses["http"].startswith("https://"), addresses)
        self.assertTrue(addresses["workers"].startswith("pbs://"), addresses)
        key = started.folder / "certificate-key.pem"
        self.assertEqual(stat.S_IMODE(key.stat().st_mode), 0o600)
        # Sent as a tree, and with files from one job to the next: all over HTTPS.
        said = await started.headrace("run", str(HELLO))
        self.assertEqual(said.status, 0, said.all)
        self.assertIn("5 passed", said.all)

        stranger = environment(HEADRACE_URL=started.url)
        said = await headrace("runs", env=stranger)
        self.assertEqual(said.status, 1)
        self.assertIn("HEADRACE_CA_FILE", said.err)
        plain = environment(HEADRACE_URL=started.url.replace("https", "http"))
        said = await headrace("runs", env=plain)
        self.assertEqual(said.status, 1, said.all)

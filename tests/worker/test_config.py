"""`worker.config`: what an operator may write, and what is said about the rest."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from twisted.trial.unittest import SynchronousTestCase

from protocol.address import MasterAddress
from protocol.trust import Trust
from worker.config import (
    ConfigError,
    WorkerConfig,
    read_config,
    read_token,
)

LEAST: dict[str, Any] = {
    "data": "home",
    "masters": ["pb://127.0.0.1:8011"],
    "token_file": "token",
}


class ConfigTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.folder = Path(self.mktemp()).absolute()
        self.folder.mkdir()
        self.path = self.folder / "worker.yaml"

    def read(self, text: str) -> WorkerConfig:
        self.path.write_text(text)
        return read_config(self.path)

    def with_keys(self, **keys: Any) -> WorkerConfig:
        return self.read(yaml.safe_dump({**LEAST, **keys}))

    def wrong(self, text: str) -> str:
        """What is said about ``text``; it names the file."""
        with self.assertRaises(ConfigError) as caught:
            self.read(text)
        self.assertIn(str(self.path), str(caught.exception))
        return str(caught.exception)

    def wrong_keys(self, **keys: Any) -> str:
        return self.wrong(yaml.safe_dump({**LEAST, **keys}))

    def test_the_least_is_enough(self) -> None:
        config = self.with_keys()
        self.assertEqual(
            config.addresses,
            (MasterAddress("pb", "127.0.0.1", 8011, "pb://127.0.0.1:8011"),),
        )
        self.assertEqual(config.on_stop, "leave")
        self.assertGreaterEqual(config.slots, 1)
        self.assertTrue(config.name)

    def test_paths_are_relative_to_the_file_and_the_data_folder(self) -> None:
        config = self.with_keys(cache="/var/cache/x")
        self.assertEqual(config.data, str(self.folder / "home"))
        self.assertEqual(config.token_file, str(self.folder / "token"))
        self.assertEqual(config.images, str(self.folder / "home" / "images"))
        self.assertEqual(config.cache, "/var/cache/x")

    def test_a_file_that_is_not_there_is_named(self) -> None:
        with self.assertRaises(ConfigError) as caught:
            read_config(self.folder / "none.yaml")
        self.assertIn("none.yaml cannot be read", str(caught.exception))

    def test_an_unknown_key_is_refused_with_its_line_and_a_guess(self) -> None:
        said = self.wrong("data: .\nmaster: [pb://a:1]\ntoken_file: t\n")
        self.assertIn("line 2: there is no key 'master'; did you mean masters?", said)

    def test_a_key_that_resembles_nothing_gets_the_list(self) -> None:
        self.assertIn("known: data, masters", self.wrong("zzz: 1\n"))

    def test_a_repeated_key_is_refused(self) -> None:
        said = self.wrong("data: .\ndata: /x\n")
        self.assertIn("line 2: data is set in line 1, too", said)

    def test_a_wrong_type_names_key_and_line(self) -> None:
        said = self.wrong("data: .\nslots: many\nmasters: [pb://a:1]\ntoken_file: t\n")
        self.assertIn("line 2: slots: Expected `int`, got `str`", said)

    def test_a_missing_key_is_named(self) -> None:
        self.assertIn("`token_file`", self.wrong("data: .\nmasters: [pb://a:1]\n"))

    def test_what_is_no_mapping_is_refused(self) -> None:
        for text in ("", "- a\n", "just text", "3"):
            self.assertIn("must be a mapping", self.wrong(text))

    def test_what_is_no_yaml_is_refused(self) -> None:
        for text in ("a: [", "a: \x00", "!!python/object:os.system {}", "a: &a [*a"):
            self.assertIn("is not YAML", self.wrong(text))

    def test_addresses_that_are_none_are_refused(self) -> None:
        for url in (
            "127.0.0.1:8011",
            "pb://127.0.0.1",
            "pb://:8011",
            "pb://host:0",
            "pb://host:65536",
            "pb://ho st:1",
            "pb://host:1/path",
            "pb://a:b:1",
            "",
        ):
            said = self.wrong_keys(masters=[url])
            self.assertIn("write pb://HOST:PORT", said)
            self.assertIn("line ", said)

    def test_a_carrier_that_is_not_there_is_refused(self) -> None:
        self.assertIn("cannot speak 'amp'", self.wrong_keys(masters=["amp://host:1"]))

    def test_each_carrier_is_understood_plain_and_with_tls(self) -> None:
        config = self.with_keys(
            masters=[
                "pb://localhost:1",
                "pbs://farm.example:8011",
                "ws://127.0.0.1:8010/workers",
                "wss://farm.example",
                "wss://[2001:db8::7]:8443/ci/workers",
            ]
        )
        self.assertEqual(
            [(a.scheme, a.host, a.port, a.path) for a in config.addresses],
            [
                ("pb", "localhost", 1, ""),
                ("pbs", "farm.example", 8011, ""),
                ("ws", "127.0.0.1", 8010, "/workers"),
                ("wss", "farm.example", 443, ""),
                ("wss", "2001:db8::7", 8443, "/ci/workers"),
            ],
        )

    def test_no_token_goes_to_another_machine_in_the_clear(self) -> None:
        for url in ("pb://farm.example:8011", "ws://192.0.2.7:8010", "pb://127.1.evil:1"):
            said = self.wrong_keys(masters=["pb://127.0.0.1:8011", url])
            self.assertIn("plain_text_off_loopback", said)
            self.assertIn("line ", said)
            config = self.with_keys(masters=[url], plain_text_off_loopback=True)
            self.assertEqual(config.masters, (url,))

    def test_a_certificate_is_trusted_by_its_authority_or_its_fingerprint(self) -> None:
        config = self.with_keys(ca_file="ca.pem")
        self.assertEqual(config.trust, Trust(ca_file=str(self.folder / "ca.pem")))
        pinned = ":".join(["AB"] * 32)
        config = self.with_keys(master_fingerprint=pinned)
        self.assertEqual(config.trust, Trust(fingerprint=pinned))
        self.assertIn("64", self.wrong_keys(master_fingerprint="AB:CD"))
        self.assertIn("both", self.wrong_keys(master_fingerprint=pinned, ca_file="x"))

    def test_an_ipv6_address_is_understood(self) -> None:
        [address] = self.with_keys(masters=["pb://[::1]:8011"]).addresses
        self.assertEqual((address.host, address.port), ("::1", 8011))

    def test_values_out_of_range_are_refused(self) -> None:
        cases: list[dict[str, Any]] = [
            {"slots": 0},
            {"masters": []},
            {"on_stop": "wait"},
            {"isolations": []},
            {"isolations": ["lxc"]},
            {"name": ""},
            {"series_images": ["jammy"]},
            {"free_bytes": -1},
            {"package_repositories": [""]},
            {"secrets_file": ""},
            {"plugin_settings": {"no_such_setting": "x"}},
        ]
        for keys in cases:
            self.assertIn(next(iter(keys)), self.wrong_keys(**keys))


class TokenTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.path = Path(self.mktemp()).absolute()
        self.path.touch(mode=0o600)

    def wrong(self) -> str:
        with self.assertRaises(ConfigError) as caught:
            read_token(self.path)
        self.assertIn(str(self.path), str(caught.exception))
        self.assertNotIn("secret", str(caught.exception))
        return str(caught.exception)

    def test_a_token_is_read_without_its_line_end(self) -> None:
        self.path.write_text("secret\n")
        self.assertEqual(read_token(self.path), "secret")

    def test_a_file_that_others_can_read_is_refused(self) -> None:
        self.path.write_text("secret\n")
        for mode in (0o640, 0o604, 0o660):
            self.path.chmod(mode)
            self.assertIn(f"chmod 600 {self.path}", self.wrong())

    def test_a_file_without_one_token_is_refused(self) -> None:
        for content in (b"", b"\n", b"x" * 201, b"secret\nsecret", b"secret\xff"):
            self.path.write_bytes(content)
            self.wrong()

    def test_a_file_that_is_not_there_is_named(self) -> None:
        self.path.unlink()
        self.assertIn("cannot be read", self.wrong())

from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.protocol.pipeline.texts import error_of, only, parsed_unit, valid_unit


class PluginTests(SynchronousTestCase):
    def test_a_plugin_has_its_settings_with_their_defaults(self) -> None:
        for lines, settings in (
            (("plugin: tox",), {}),
            (("plugin: golang", 'golang-version: "1.21"'), {"golang-version": "1.21"}),
            (
                ("plugin: miniconda", "conda-python: 3.9", "conda-packages: [numpy]"),
                {
                    "conda-packages": ["numpy"],
                    "conda-python": "3.9",
                    "conda-channels": None,
                },
            ),
            (
                ("plugin: conda-build", "build-target: x"),
                {
                    "conda-packages": None,
                    "conda-python": None,
                    "conda-channels": None,
                    "build-target": "x",
                    "recipe-folder": "./info",
                },
            ),
        ):
            self.assertEqual(valid_unit(*lines).plugin_config, settings)

    def test_a_job_without_a_plugin_has_no_settings(self) -> None:
        self.assertIsNone(valid_unit("run: x").plugin_config)

    def test_an_unknown_plugin_is_refused_with_what_was_probably_meant(self) -> None:
        for value in ("toxx", "", "5", "[tox]"):
            self.assertEqual(error_of(f"plugin: {value}").where, "jobs.unit.0.plugin")
        self.assertIn("did you mean tox?", error_of("plugin: toxx").message)

    def test_a_key_of_another_plugin_is_refused_and_its_owner_named(self) -> None:
        error = error_of("plugin: tox", 'golang-version: "1.21"')
        self.assertEqual(error.where, "jobs.unit.0.golang-version")
        self.assertIn("plugin golang", error.message)

    def test_a_version_that_yaml_shortens_is_warned_of(self) -> None:
        lines = ("run: x", "plugin: miniconda", "conda-python: 3.10")
        self.assertEqual((valid_unit(*lines).plugin_config or {})["conda-python"], "3.1")
        warning = only(parsed_unit(*lines).warnings)
        self.assertIn('"3.10"', warning.message)
        self.assertEqual(warning.where, "jobs.unit.0.__root__.conda-python")

    def test_wrong_settings_are_refused(self) -> None:
        for lines, key in (
            (("plugin: golang", "golang-version: 1.21"), "golang-version"),
            (("plugin: golang",), "golang-version"),
            (("plugin: miniconda", "conda-packages: x"), "conda-packages"),
            (("plugin: miniconda", "conda-python: true"), "conda-python"),
            (("plugin: conda-build", "recipe-folder: 5"), "recipe-folder"),
        ):
            self.assertEqual(error_of(*lines).where, f"jobs.unit.0.__root__.{key}")

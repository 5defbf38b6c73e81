from __future__ import annotations

from twisted.trial.unittest import SynchronousTestCase

from tests.worker.supervisor.attempts import folder
from worker.supervisor.endings import Malformed
from worker.supervisor.recipes import configurations, target


class RecipeTests(SynchronousTestCase):
    def setUp(self) -> None:
        self.source = folder(self)

    def files(self, *names: str) -> None:
        for name in names:
            (self.source / name).parent.mkdir(parents=True, exist_ok=True)
            (self.source / name).touch()

    def none(self, where: str = "./info") -> None:
        error: Malformed = self.assertRaises(Malformed, target, self.source, where, "It")
        self.assertIn("It finds no build target", error.reason)
        self.assertIn(where, error.reason)

    def test_a_folder_called_recipe_is_found_at_any_depth(self) -> None:
        self.files("info/a/b/recipe/meta.yaml", "info/meta.txt")
        self.assertEqual(target(self.source, "./info", "It"), "info/a/b/recipe")

    def test_its_parent_is_preferred(self) -> None:
        self.files("info/recipe/meta.yaml", "info/recipe/parent/meta.yaml")
        self.assertEqual(target(self.source, "./info", "It"), "info/recipe/parent")

    def test_a_parent_without_a_recipe_is_passed_over(self) -> None:
        self.files("info/recipe/meta.yaml", "info/recipe/parent/x")
        self.assertEqual(target(self.source, "./info", "It"), "info/recipe")

    def test_the_folder_itself_may_be_the_recipe(self) -> None:
        self.files("conda/meta.yaml")
        self.assertEqual(target(self.source, "conda", "It"), "conda")
        self.files("meta.yaml")
        self.assertEqual(target(self.source, ".", "It"), ".")

    def test_without_a_recipe_there_is_no_target(self) -> None:
        self.none()
        self.files("info/other/meta.yaml", "recipe/meta.yaml")
        self.none()

    def test_nothing_outside_of_the_project_is_looked_at(self) -> None:
        outside = folder(self)
        (outside / "recipe").mkdir()
        (outside / "recipe/meta.yaml").touch()
        (outside / "conda_build_config.yaml").touch()
        (self.source / "way").symlink_to(outside)
        (self.source / "info").mkdir()
        (self.source / "info/recipe").symlink_to(outside / "recipe")
        (self.source / "link").mkdir()
        (self.source / "link/meta.yaml").symlink_to(outside / "recipe/meta.yaml")
        relative = f"../../{outside.parent.name}/{outside.name}"
        for where in (str(outside), relative, "way", "way/recipe", "./info", "link"):
            self.none(where)
            self.assertEqual(configurations(self.source, where), [])

    def test_configurations_come_with_the_last_first(self) -> None:
        name = "conda_build_config.yaml"
        self.files(f"info/a/{name}", f"info/{name}", f"info/b/{name}", f"other/{name}")
        self.assertEqual(
            configurations(self.source, "./info"),
            [f"info/{name}", f"info/b/{name}", f"info/a/{name}"],
        )

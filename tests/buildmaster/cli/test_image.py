from __future__ import annotations

import os
from pathlib import Path

from twisted.trial.unittest import TestCase

from tests.farm import Said, environment, folder_for, headrace
from tests.worker.environments.shared_image import require_chroots

_PROGRAM = """\
#!/bin/sh
echo "$@" >> {folder}/calls
echo "I: working" >&2
mkdir -p {folder}/tree && date +%N > {folder}/tree/f
exec tar -C {folder}/tree -c .
"""


class ImageTests(TestCase):
    """The command as a person has it, with a quick program in mmdebstrap's place."""

    def setUp(self) -> None:
        self.folder = folder_for(self)
        program = self.folder / "bin" / "mmdebstrap"
        program.parent.mkdir()
        program.write_text(_PROGRAM.format(folder=self.folder))
        program.chmod(0o755)
        self.images = self.folder / "images"

    async def image(self, *arguments: str) -> Said:
        path = f"{self.folder / 'bin'}:{os.environ['PATH']}"
        return await headrace(
            "image", *arguments, "--images", str(self.images), env=environment(PATH=path)
        )

    async def test_an_image_is_made_listed_made_again_and_removed(self) -> None:
        require_chroots(self)
        said = await self.image("build", "bookworm", "--packages", "git,dash", "--json")
        self.assertEqual(said.status, 0, said.all)
        [first] = said.document
        self.assertEqual((first["kind"], first["name"]), ("image", "bookworm"))
        self.assertEqual(first["packages"], ["dash", "git"])
        self.assertIn("working", said.err)
        said = await self.image("refresh")
        self.assertEqual(said.status, 0, said.all)
        [second] = (await self.image("list", "--json")).document
        self.assertNotEqual(first["digest"], second["digest"])
        self.assertEqual(second["packages"], ["dash", "git"])
        self.assertFalse((self.images / "by-digest" / first["digest"]).exists())
        self.assertIn(second["digest"][:12], (await self.image("list")).out)
        said = await self.image("remove", "bookworm")
        self.assertEqual(said.status, 0, said.all)
        self.assertIn("no images", (await self.image("list")).out)
        calls = Path(self.folder, "calls").read_text()
        self.assertEqual(calls.count("--include=dash,git"), 2)

    async def test_what_is_asked_for_wrongly_is_told(self) -> None:
        for arguments, status, words in (
            (["remove", "nothing"], 1, "no image called nothing"),
            (["refresh", "nothing"], 1, "no image called nothing"),
            (["build"], 2, "needs a name"),
            (["list", "x"], 2, "takes no name"),
            (["build", "../x"], 1, "can't be the name"),
        ):
            said = await self.image(*arguments)
            self.assertEqual(said.status, status, said.all)
            self.assertIn(words, said.err)

"""A git repository made by a test."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path


class Repository:
    """A repository with a work tree in ``folder``."""

    def __init__(self, folder: Path, *, form: str = "sha1") -> None:
        self.folder = folder.absolute()
        self.folder.mkdir(parents=True)
        self.git("init", "--quiet", "--initial-branch=main", f"--object-format={form}")

    def git(self, *arguments: str) -> str:
        """Run git in it; what it printed."""
        plain = {k: v for k, v in os.environ.items() if not k.startswith("GIT_")}
        told = subprocess.run(
            ["git", "-c", "user.name=A", "-c", "user.email=a@example.org", *arguments],
            cwd=self.folder,
            env={**plain, "GIT_CONFIG_GLOBAL": os.devnull, "GIT_CONFIG_NOSYSTEM": "1"},
            check=True,
            capture_output=True,
            text=True,
        )
        return told.stdout.strip()

    def commit(self, **files: str | bytes) -> str:
        """Write the files (``__`` stands for a dot), commit them; the commit's id."""
        for name, content in files.items():
            data = content.encode() if isinstance(content, str) else content
            (self.folder / name.replace("__", ".")).write_bytes(data)
        self.git("add", "--all")
        self.git("commit", "--quiet", "--allow-empty", "--message=x")
        return self.git("rev-parse", "HEAD")

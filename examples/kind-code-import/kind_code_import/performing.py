"""What a worker does for an import: asks for the heads, and says which of them are new."""

from __future__ import annotations

import subprocess
from typing import Any

from twisted.plugin import IPlugin
from zope.interface import implementer

from worker.native.interface import Context, INativeJob, InfrastructureError


@implementer(IPlugin, INativeJob)
class ImportCode:
    """Performs jobs of the kind ``code-import``."""

    name = "import-code"
    is_quick = False

    def run(self, arguments: dict[str, Any], context: Context) -> dict[str, Any]:
        """``url`` is the repository, ``known`` what the import before this one found."""
        url, known = str(arguments["url"]), arguments.get("known", {})
        told = subprocess.run(
            ["git", "ls-remote", "--heads", "--", url], capture_output=True, text=True
        )
        if told.returncode != 0:
            raise InfrastructureError(f"git cannot read {url}: {told.stderr.strip()}")
        heads = {}
        for line in told.stdout.splitlines():
            commit, _, name = line.partition("\t")
            heads[name.removeprefix("refs/heads/")] = commit
        changed = sorted(name for name in heads if heads[name] != known.get(name))
        for name in changed:
            print(f"{name} is at {heads[name]} now")
        return {"heads": heads, "changed": changed}

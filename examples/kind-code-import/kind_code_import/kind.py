"""The kind: what its jobs need, and what follows when one has ended."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path

from twisted.plugin import IPlugin
from zope.interface import implementer

from buildmaster.kinds.interface import (
    After,
    EndedJob,
    IJobKind,
    JobRequest,
    Requirements,
    Statement,
)

_PASSED = """
    INSERT INTO code_import (url, heads, imports, imported_at)
    VALUES (%(url)s, %(heads)s::jsonb, 1, farm_now())
    ON CONFLICT (url) DO UPDATE
    SET heads = excluded.heads, imports = code_import.imports + 1, failures = 0,
        imported_at = excluded.imported_at
"""
_FAILED = """
    INSERT INTO code_import (url, failures) VALUES (%(url)s, 1)
    ON CONFLICT (url) DO UPDATE SET failures = code_import.failures + 1
"""


@implementer(IPlugin, IJobKind)
class CodeImport:
    """Imports ``url``, and does so ``every`` so many seconds until it is cancelled."""

    name = "code-import"
    description = "imports the heads of a git repository, again and again"
    performs = "import-code"
    requirements = Requirements(memory=64)
    sql_folder = Path(__file__).parent / "sql"
    document = "code_import_document"
    hears_ends = True

    def ended(self, job: EndedJob) -> After | None:
        """Remember what was found, and queue the next import."""
        url = job.arguments.get("url")
        if not isinstance(url, str):
            return None  # The job has failed over that.
        if job.result == "success":
            heads = (job.output or {}).get("heads", {})
            told = Statement(_PASSED, {"url": url, "heads": json.dumps(heads)})
        else:
            heads = job.arguments.get("known", {})
            told = Statement(_FAILED, {"url": url})
        return After((told,), self._next(job, url, heads))

    def _next(self, job: EndedJob, url: str, heads: object) -> tuple[JobRequest, ...]:
        every = job.arguments.get("every")
        if not every or job.result == "cancelled":
            return ()
        return (
            JobRequest(
                kind=self.name,
                name=job.name,
                arguments={"url": url, "every": every, "known": heads},
                not_before=datetime.now(UTC) + timedelta(seconds=float(every)),
                # Whoever tries an old one again gets no second series.
                key=url[:200],
            ),
        )

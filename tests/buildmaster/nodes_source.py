"""Submits a source with a ``.headrace.yaml`` to real books, without a repository."""

from __future__ import annotations

from dataclasses import dataclass

import yaml

from buildmaster.nodes import NodeSubmission, Source, paths_in, read_references
from buildmaster.requests import GitRequest, SubmissionRequest
from buildmaster.series import DEFAULT_SERIES
from buildmaster.submission import Material, SubmissionRules, read_configuration
from protocol.order import GitSource
from tests.direct import Direct
from tests.oracle_expansion import PIPELINE
from tests.oracle_files import INCLUDED, File
from tests.oracle_reuse import Origin


@dataclass(frozen=True)
class Commit:
    """A source, which stays as it is."""

    file: File
    words: dict[str, str]  #: what jobs run
    content: dict[str, str]


def submit(
    books: Direct,
    origin: Origin,
    commit: Commit,
    trigger: str | None,
    force: bool,
) -> int:
    """Write the run that a commit's file asks for; its number, or a `Refusal`."""
    text = yaml.safe_dump(commit.file, sort_keys=False).encode()
    request = SubmissionRequest(
        source=GitRequest(repository=origin.repository),
        configuration=".headrace.yaml",
        trigger=trigger,
        isolation="chroot",
        force=force,
    )
    references = read_references(request, text)
    submission = NodeSubmission(
        request,
        "ann",
        Material(
            origin.repository,
            origin.commit,
            GitSource(repository=origin.repository, commit=origin.commit),
            text,
        ),
        references,
        {INCLUDED: read_configuration(request, PIPELINE.encode())},
        Source(
            {INCLUDED: PIPELINE.encode()},
            {path: commit.content[path] for path in paths_in(references)},
        ),
        SubmissionRules(DEFAULT_SERIES, trust_domain=origin.domain),
    )
    return books.act(submission.store).run

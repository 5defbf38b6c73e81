"""What a node runs, as a pipeline of one job: so everything else knows builds only."""

from __future__ import annotations

import json
import re
from typing import Any

import msgspec

from protocol.pipeline.model import License, PipelineJob

#: What YAML does not take as it stands, and JSON may write so.
_UNPRINTABLE = re.compile(
    "[^\x20-\x7e\xa0-\u2027\u202a-\ud7ff\ue000-\ufefe\uff00-\ufffd\U00010000-\U0010ffff]"
)


def definition(name: str, runs: PipelineJob, terms: License | None) -> str:
    """The configuration of a build that runs ``runs`` and nothing else.

    JSON, which YAML reads, but for characters that only YAML can write.
    """
    job: dict[str, Any] = msgspec.to_builtins(runs)
    job["architectures"] = list(runs.architectures)
    # Keys of a plugin stand among the others.
    job.update(job.pop("plugin-config", None) or {})
    job["package-repositories"] = [
        # A PPA says the address itself.
        {k: v for k, v in one.items() if "ppa" not in one or k not in ("url", "components")}
        for one in job.get("package-repositories", ())
    ]
    if not job["package-repositories"]:
        del job["package-repositories"]
    if "output" in job and "expires" in job["output"]:
        job["output"]["expires"] = job["output"]["expires"]["seconds"]
    whole: dict[str, Any] = {"pipeline": [[name]], "jobs": {name: job}}
    if terms is not None and (terms.spdx or terms.path):
        whole["license"] = msgspec.to_builtins(terms)
    text = json.dumps(whole, ensure_ascii=False, sort_keys=True)
    return _UNPRINTABLE.sub(lambda found: f"\\U{ord(found.group()):08x}", text)

"""What a pipeline job hands on and takes over: its ``output`` and its ``input``."""

from __future__ import annotations

from protocol.pipeline import values
from protocol.pipeline.document import Node, Sequence
from protocol.pipeline.durations import expiry
from protocol.pipeline.model import Input, Output
from protocol.pipeline.paths import collected, inside
from protocol.pipeline.problems import Spot
from protocol.pipeline.values import below, optional

_OUTPUT_KEYS = (
    "paths",
    "distribute",
    "channels",
    "properties",
    "dynamic-properties",
    "expires",
)
_INPUT_KEYS = ("job-name", "target-directory")


def output(node: Node, spot: Spot) -> Output | None:
    """An ``output`` mapping."""
    found = values.fields(node, spot, _OUTPUT_KEYS)
    if found is None:
        return None
    return Output(
        paths=below(found, "paths", spot, optional(values.each(collected))),
        distribute=below(
            found, "distribute", spot, optional(values.choice(("artifactory",)))
        ),
        channels=below(found, "channels", spot, optional(values.texts)),
        properties=below(found, "properties", spot, optional(values.json_mapping)),
        dynamic_properties=below(found, "dynamic-properties", spot, optional(inside)),
        expires=below(found, "expires", spot, expiry),
    )


def input_(node: Node, spot: Spot) -> Input | None:
    """An ``input`` mapping; whether its job exists is checked with the whole file."""
    if isinstance(node, Sequence):
        # The reference reads a list here as a mapping of its keys, and misses this one.
        spot.at("target-directory").error(
            "a job has one input: a mapping with job-name and target-directory, no list"
        )
        return None
    found = values.fields(node, spot, _INPUT_KEYS)
    if found is None:
        return None
    name = below(found, "job-name", spot, values.text, "it names the job to take from")
    target = below(
        found, "target-directory", spot, inside, "it says where the files are put"
    )
    if name is None or target is None:
        return None
    return Input(job_name=name, target_directory=target)

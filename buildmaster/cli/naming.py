"""Reads how people name a pipeline job: ``name:index``."""

from __future__ import annotations

import argparse


def pipeline_job(text: str) -> tuple[str, int]:
    """The name and the index; a refusal in argparse's way for anything else."""
    name, _, index = text.rpartition(":")
    if not name or not index.isascii() or not index.isdigit():
        raise argparse.ArgumentTypeError(f"{text!r} is not NAME:INDEX, as in test:0")
    return name, int(index)

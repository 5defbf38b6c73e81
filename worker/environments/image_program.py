"""The program behind ``headrace image``: makes, lists and removes images.

``python -m worker.environments.image_program ACTION ...``; ``headrace image`` checks its
arguments before they come here.
"""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict
from datetime import UTC, datetime
from pathlib import Path

from worker.environments.bootstrap import NoImage
from worker.environments.images import Image, ImageFacts, Images
from worker.environments.interface import EnvironmentFault
from worker.environments.limits import in_units
from worker.environments.progress import Progress


def main(arguments: Sequence[str] | None = None) -> int:
    """Do it; 0 if it is done."""
    chosen = _parser().parse_args(arguments)
    images = Images(chosen.images, {}, chosen.arch)
    try:
        if chosen.action == "list":
            return _list(images, chosen.json)
        if chosen.action == "remove":
            return _remove(images, chosen.name, chosen.json)
        return _make(images, chosen)
    except (NoImage, EnvironmentFault) as error:
        print(f"headrace: {error}", file=sys.stderr)
        return 1


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="headrace image")
    parser.add_argument("action", choices=("build", "refresh", "list", "remove"))
    parser.add_argument("name", nargs="?")
    parser.add_argument("--images", type=Path, required=True)
    parser.add_argument("--arch")
    parser.add_argument("--name", dest="called")
    parser.add_argument("--packages", action="append")
    parser.add_argument("--json", action="store_true")
    return parser


def _make(images: Images, chosen: argparse.Namespace) -> int:
    packages = None
    if chosen.packages is not None:
        packages = [name for text in chosen.packages for name in text.split(",") if name]
    names = [chosen.name]
    if chosen.action == "refresh" and chosen.name is None:
        names = [facts.name for facts in images.facts()]
    made = []
    for name in names:
        if chosen.action == "refresh" and all(f.name != name for f in images.facts()):
            raise NoImage(f"There is no image called {name}: headrace image build {name}.")
        series, _, architecture = name.partition(":")
        each = Images(images.folder, {}, architecture or chosen.arch)
        with Progress(f"Image of {name}") as progress:
            image = each.build(series, progress.hear, packages=packages, name=chosen.called)
        made.append(image)
    images.sweep()
    if chosen.json:
        return _list(images, True, made)
    for image in made:
        print(f"{image.name} is {image.digest[:12]}")
    return 0


def _remove(images: Images, name: str, as_json: bool) -> int:
    facts = [facts for facts in images.facts() if facts.name == name]
    if images.remove(name) is None:
        raise NoImage(f"There is no image called {name}.")
    if as_json:
        print(json.dumps([_document(each) for each in facts], indent=2))
    else:
        print(f"{name} is removed")
    return 0


def _list(images: Images, as_json: bool, only: Sequence[Image] | None = None) -> int:
    found = [
        facts
        for facts in images.facts()
        if only is None or facts.name in {image.name for image in only}
    ]
    if as_json:
        print(json.dumps([_document(each) for each in found], indent=2))
        return 0
    if not found:
        print("There are no images.")
        return 0
    rows = [("NAME", "DIGEST", "SERIES", "SIZE", "MADE", "PACKAGES")]
    for facts in found:
        made = time.strftime("%Y-%m-%d %H:%M", time.localtime(facts.made_at))
        size, packages = in_units(facts.size), " ".join(facts.packages) or "-"
        rows.append((facts.name, facts.digest[:12], facts.series, size, made, packages))
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    for row in rows:
        cells = [cell.ljust(width) for cell, width in zip(row, widths, strict=True)]
        print("  ".join(cells).rstrip())
    return 0


def _document(facts: ImageFacts) -> dict[str, object]:
    """One image for programs, with the keys that every object of ``--json`` has."""
    always: dict[str, object] = {
        "id": facts.digest,
        "kind": "image",
        "state": "done",
        "result": None,
        "attempt": None,
    }
    told = asdict(facts)
    for key in ("made_at", "used_at"):
        told[key] = datetime.fromtimestamp(told[key], UTC).isoformat()
    return {**always, **told}


if __name__ == "__main__":
    sys.exit(main())

"""A board of the newest builds in a terminal, made from the HTTP interface alone.

    python board.py http://127.0.0.1:8010

It needs nothing but Python: it follows ``/api/v1/jobs`` (docs/status.rst) and prints a line
for each build of the snapshot, and one whenever a build changes.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from urllib.request import Request, urlopen

FIELDS = "id,name,state,result,architecture,owner,reason"


def events(url: str) -> Iterator[tuple[str, dict[str, object]]]:
    """What a stream of server-sent events tells: kind and document."""
    request = Request(url, headers={"Accept": "text/event-stream"})
    kind, data = "", ""
    with urlopen(request) as stream:
        for raw in stream:
            name, _, value = raw.decode().rstrip("\n").partition(": ")
            if name == "event":
                kind = value
            elif name == "data":
                data += value
            elif not name and data:
                yield kind, json.loads(data)
                kind, data = "", ""


def show(build: dict[str, object]) -> None:
    """One line, with nothing in it that a terminal could take for an order."""
    told = "  ".join(str(build[name]) for name in FIELDS.split(",") if build[name])
    print("".join(c if c.isprintable() else "?" for c in told), flush=True)


def main(farm: str) -> None:
    """Print the newest builds, and then each that changes."""
    for kind, document in events(f"{farm}/api/v1/jobs?kind=build&limit=20&fields={FIELDS}"):
        if kind == "snapshot":
            builds = document["jobs"]
            assert isinstance(builds, list)
            for build in reversed(builds):
                show(build)
        elif document["job"] is not None:
            with urlopen(f"{farm}/api/v1/jobs/{document['job']}") as answer:
                show(json.load(answer))


if __name__ == "__main__":
    try:
        main(sys.argv[1].rstrip("/"))
    except (KeyboardInterrupt, BrokenPipeError):
        pass

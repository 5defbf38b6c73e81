"""Feeds the configuration reader whatever breaks readers; to be run by hand.

    python -m tests.fuzz_configuration [SECONDS] [SEED]

With atheris installed its coverage leads the way, from real files on; else random pieces
of YAML, mutated real files and repeated fragments do. It stops at the first exception, or
at the first text of 100 KB or less that takes more than a second, and leaves that text in
a file here, which it names.
"""

from __future__ import annotations

import importlib
import importlib.util
import os
import random
import sys
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from time import monotonic, process_time

from buildmaster.planner import plan
from buildmaster.planning.model import MODES
from buildmaster.series import DEFAULT_SERIES
from protocol.pipeline.configuration import parse
from tests.vectors import SHARED

_LARGE = 100_000
_FRAGMENTS = (
    "pipeline: [unit]\njobs:\n  unit:\n    series: jammy\n    architectures: amd64\n"
    "    matrix: |    run: |    environment: |    output: {paths: [a], expires: 1}|&a |*a|"
    "<<: *a|[|]|{|}|? |- |: |,|!!str |!!int |'|\"|#|>|%TAG ! a|---|...|\n|\n\n|\t|  |"
    "59:59|0x|_|.inf|\u2028|\x85|\ufeff|\\u0000|~|true"
).split("|")


def judge(text: bytes) -> None:
    """Read and plan ``text``; raises when that fails, or takes too long."""
    started = process_time()
    for lenient in (False, True):
        parsed = parse(text, lpci_compatible=lenient)
        if (parsed.pipeline is None) != bool(parsed.errors):
            raise AssertionError("neither valid nor wrong")
    taken = (process_time() - started) / 2
    if len(text) <= _LARGE and taken > 1:
        raise AssertionError(f"took {taken:.1f} seconds")
    if parsed.pipeline is not None:
        for mode in MODES:
            plan(parsed.pipeline, DEFAULT_SERIES, mode)


def _seeds() -> list[bytes]:
    folder = SHARED / "corpus" / "launchpad-yaml"
    return [path.read_bytes() for path in sorted(folder.glob("*.yaml"))] or [b"a: b"]


def _pieces(chance: random.Random) -> bytes:
    parts = [chance.choice(_FRAGMENTS) for _ in range(chance.randrange(60))]
    return "".join(parts).encode()


def _mutated(chance: random.Random, seeds: list[bytes]) -> bytes:
    text = bytearray(chance.choice(seeds))
    for _ in range(chance.randrange(1, 12)):
        at = chance.randrange(len(text) + 1)
        end = at + chance.randrange(20)
        piece = chance.choice((b"", chance.randbytes(2), _pieces(chance), text[at:end]))
        text[at : chance.choice((at, end))] = piece
    return bytes(text)


def _repeated(chance: random.Random, seeds: list[bytes]) -> bytes:
    fragment = "".join(chance.choices(_FRAGMENTS, k=chance.randrange(1, 4))).encode()
    many = fragment * (chance.randrange(100, _LARGE) // max(1, len(fragment)))
    return chance.choice((b"", chance.choice(seeds), _pieces(chance))) + many


def _run(seconds: float, seed: int) -> int:
    chance = random.Random(seed)
    seeds = _seeds()
    makers: list[Callable[[], bytes]] = [
        lambda: _pieces(chance),
        lambda: _mutated(chance, seeds),
        lambda: _repeated(chance, seeds),
    ]
    ends = monotonic() + seconds
    count = 0
    while monotonic() < ends:
        text = chance.choices(makers, weights=(10, 10, 1))[0]()
        try:
            judge(text)
        except Exception:
            Path("fuzz-failure.yaml").write_bytes(text)
            print(f"seed {seed}, text {count}: see fuzz-failure.yaml", file=sys.stderr)
            raise
        count += 1
    print(f"{count} texts, nothing found")
    return 0


def _run_led_by_coverage(seconds: float, seed: int) -> int:
    with TemporaryDirectory() as found:
        for number, text in enumerate(_seeds()):
            Path(found, str(number)).write_bytes(text)
        child = os.fork()  # libFuzzer ends the process it is in, and would leave the folder
        if child:
            return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        atheris = importlib.import_module("atheris")
        atheris.instrument_all()
        limits = (f"-max_total_time={int(seconds)}", f"-max_len={_LARGE}")
        # What it finds that is new, it adds to the folder that it begins with.
        atheris.Setup([sys.argv[0], *limits, f"-seed={seed % 2**31}", found], judge)
        atheris.Fuzz()
        os._exit(0)


def main() -> int:
    """Fuzz for a while; the exit status."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 600.0
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else random.randrange(2**32)
    if importlib.util.find_spec("atheris") is None:
        return _run(seconds, seed)
    return _run_led_by_coverage(seconds, seed)


if __name__ == "__main__":
    sys.exit(main())

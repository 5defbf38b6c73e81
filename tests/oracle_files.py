"""Random ``.headrace.yaml`` files whose jobs and packages refer to others, for oracles."""

from __future__ import annotations

import copy
from random import Random
from typing import Any

from hypothesis import strategies as st

File = dict[str, Any]

AXES = {"arch": ("amd64", "arm64"), "series": ("noble", "jammy"), "aa": ("x", "y")}
JOBS = ("build", "test", "publish", "notify", "ship")
TRIGGERS = ("push", "pull_request")
INCLUDED = "ci.yaml"


def _seldom(draw: st.DrawFn, of: int = 8) -> bool:
    return draw(st.integers(0, of - 1)) == of - 1


@st.composite
def files(draw: st.DrawFn) -> File:
    """A file that is valid as such; that it can be expanded is not said."""
    packages = _packages(draw)
    names = JOBS[: draw(st.integers(1, len(JOBS)))]
    file: File = {
        "jobs": {
            name: _job(draw, name, names[:place], bool(packages))
            for place, name in enumerate(names)
        }
    }
    if packages:
        file["packages"] = packages
        if _seldom(draw, 4):
            file["depends_default"] = draw(st.sampled_from(("rebuild", "order")))
    if _seldom(draw, 4):
        file["inputs"] = ["shared"]
    return file


def _packages(draw: st.DrawFn) -> dict[str, Any]:
    names = "ABCD"[: draw(st.sampled_from((0, 1, 2, 3, 3, 4)))]
    return {name: _package(draw, name, names[:place]) for place, name in enumerate(names)}


def _package(draw: st.DrawFn, name: str, earlier: str) -> dict[str, Any]:
    body: dict[str, Any] = {}
    if not _seldom(draw):
        body["paths"] = [name.lower()]
    if earlier:
        others = draw(st.lists(st.sampled_from(earlier), unique=True, max_size=2))
        body["depends"] = [
            draw(
                st.sampled_from(
                    (
                        other,
                        other,
                        {"name": other, "rebuild": True},
                        {"name": other, "rebuild": False},
                    )
                )
            )
            for other in others
        ]
    return body


def _job(draw: st.DrawFn, name: str, earlier: tuple[str, ...], scoped: bool) -> File:
    job: File = {"run": "x"}
    if _seldom(draw, 12):
        job = {"lpci": INCLUDED}
        if draw(st.booleans()):
            job["architectures"] = draw(st.sampled_from(("amd64", "arm64")))
    else:
        axes = draw(st.lists(st.sampled_from(sorted(AXES)), unique=True, max_size=2))
        if axes:
            job["matrix"] = {
                axis: draw(st.lists(st.sampled_from(AXES[axis]), unique=True, min_size=1))
                for axis in axes
            }
    job |= _scope(draw, scoped, "lpci" in job)
    job |= _reuse(draw)
    if _seldom(draw):
        job["allow_failure"] = True
    if _seldom(draw):
        job["manual"] = True
    if _seldom(draw, 5):
        job["trigger"] = draw(st.sampled_from(TRIGGERS))
    if _seldom(draw, 5):
        job["retry"] = draw(st.sampled_from((1, [{"limit": 1, "exit": 7}])))
    if _seldom(draw, 10):
        job["paths"] = ["docs"]
    needs = (
        draw(st.lists(st.sampled_from(earlier), unique=True, max_size=2)) if earlier else []
    )
    job["needs"] = [_need(draw, other) for other in needs]
    if _seldom(draw, 10):
        job["needs"].append({"job": "ghost", "weak": True})
    return job


def _scope(draw: st.DrawFn, scoped: bool, is_pipeline: bool) -> File:
    if not scoped:
        return {}
    says: list[File] = [
        {"scope": "each"},
        {"scope": "top"},
        {"scope": "component"},
        {"scope": "run"},
        {"type": "publish"},
        {},
    ]
    if not is_pipeline:
        says += [{"per_package": True}] * 2
    chosen = dict(draw(st.sampled_from(says)))
    is_of_packages = chosen.get("scope") in ("each", "top") or "per_package" in chosen
    if is_of_packages and draw(st.booleans()):
        chosen["install"] = "closure"
    return chosen


def _reuse(draw: st.DrawFn) -> File:
    return draw(
        st.sampled_from(
            (
                {},
                {},
                {},
                {"reuse": "inputs"},
                {"reuse": "inputs"},
                {"reuse": "outputs"},
                {"cutoff": True},
                {"reuse": "never"},
            )
        )
    )


def _need(draw: st.DrawFn, other: str) -> Any:
    if _seldom(draw, 3):
        return other
    need: File = {"job": other}
    if draw(st.booleans()):
        need["map"] = draw(st.sampled_from(("same", "all", "any", "any")))
    if _seldom(draw, 3):
        requires = ("good", "finished", "always", "bad")
        need["require"] = draw(st.sampled_from(requires))
        if need["require"] == "bad":
            # The first that passed cannot be waited for, and none at once.
            need.pop("map", None)
    if _seldom(draw, 10):
        axis = draw(st.sampled_from(sorted(AXES)))
        need["cell"] = {axis: draw(st.sampled_from(AXES[axis]))}
    if _seldom(draw, 5):
        need["artifacts"] = draw(st.sampled_from(([], ["*.deb"])))
    if _seldom(draw, 2):
        need["weak"] = True
    return need


def changed(file: File, chance: Random) -> File:
    """The file as another commit may have it: now and then with a dependency less."""
    file = copy.deepcopy(file)
    depending = [body for body in file.get("packages", {}).values() if body.get("depends")]
    if depending and chance.random() < 0.1:
        chance.choice(depending)["depends"].pop()
    return file

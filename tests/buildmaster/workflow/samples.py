"""Workflows that the tests play."""

from __future__ import annotations

from typing import Any

from buildmaster.workflow import (
    Cancelled,
    Context,
    LocalCall,
    LocalFailed,
    Retry,
    TimedOut,
    WorkflowFailed,
    local,
    query,
    signal,
    workflow,
)


@local
def submit(call: LocalCall, what: str) -> str:
    return f"{what} {call.key}"


@local
def tell(call: LocalCall, text: str, ok: bool) -> None:
    """Tell somebody."""


@workflow
class Build:
    """Builds a source package, then binary packages."""

    ctx: Context

    def __init__(self) -> None:
        self.ended: dict[str, bool] = {}

    @signal(key=lambda chroot, ok: chroot)
    def build_ended(self, chroot: str, ok: bool) -> None:
        self.ended[chroot] = ok

    @query
    def so_far(self) -> dict[str, bool]:
        return self.ended

    async def run(self, ctx: Context, project: str) -> str:
        await ctx.execute_local(submit, f"source of {project}", timeout=60)
        await ctx.wait_condition(
            lambda: "source" in self.ended, name="source built", timeout=3600
        )
        await ctx.execute_local(tell, "source", self.ended["source"])
        if not self.ended["source"]:
            raise WorkflowFailed("the source package did not build")
        await ctx.execute_local(submit, f"binaries of {project}")
        await ctx.wait_condition(lambda: "binary" in self.ended, name="binaries built")
        await ctx.execute_local(tell, "binaries", self.ended["binary"])
        return "built"


@workflow
class Legs:
    """Several things at once, each of several steps."""

    async def run(self, ctx: Context, count: int) -> list[Any]:
        async def leg(number: int) -> str:
            made = await ctx.execute_local(submit, f"leg {number}")
            await ctx.sleep(number)
            end = await ctx.execute_job("test", arguments={"made": made})
            return f"{number} {end.result}"

        return await ctx.gather(*(leg(number) for number in range(count)))


@workflow
class Race:
    """Whoever comes first."""

    async def run(self, ctx: Context) -> list[Any]:
        jobs = [ctx.start_job("build", name=name) for name in ("a", "b")]
        place, end = await ctx.first(*jobs)
        jobs[1 - place].cancel()
        return [place, end.result]


@workflow
class Cleaning:
    """Cleans up when it is cancelled, whatever else comes."""

    async def run(self, ctx: Context) -> str:
        try:
            await ctx.gather(ctx.execute_job("build"), ctx.sleep(3600, name="an hour"))
        except Cancelled:
            with ctx.shielded(timeout=60):
                try:
                    await ctx.execute_local(tell, "cleaned up", True)
                except TimedOut:
                    return "gave up cleaning"
            raise
        return "not cancelled"


@workflow
class Stubborn:
    """Goes on for a while when it is cancelled, without any shield."""

    async def run(self, ctx: Context) -> str:
        try:
            await ctx.sleep(3600)
        except Cancelled:
            await ctx.execute_local(tell, "cancelled", True)
        return "as it likes"


@workflow
class Parent:
    """Waits for another workflow."""

    async def run(self, ctx: Context) -> str:
        told = await ctx.execute_child(Build, "child", id="the-child", execution_timeout=60)
        return f"child: {told}"


@workflow
class Counter:
    """Counts signals, and goes on with a new history now and then."""

    def __init__(self) -> None:
        self.left: list[int] = []

    @signal
    def count(self, number: int) -> None:
        self.left.append(number)

    async def run(self, ctx: Context, total: int = 0, generations: int = 0) -> int:
        if generations == 3:
            return total
        await ctx.wait_condition(lambda: len(self.left) >= 2, name="two more")
        ctx.continue_as_new(total + sum(self.left), generations + 1)


@workflow
class Asking:
    """Its signal handler waits, too."""

    ctx: Context

    def __init__(self) -> None:
        self.answers: list[str] = []

    @signal
    async def ask(self, what: str) -> None:
        self.answers.append(await self.ctx.execute_local(submit, what))

    @query
    def peek(self) -> int:
        return len(self.answers)

    @query
    def meddle(self) -> int:
        self.answers.append("meddled")
        return 0

    @query
    def command(self) -> int:
        self.ctx.start_local(submit, "from a query")
        return 0

    async def run(self, ctx: Context) -> list[str]:
        await ctx.sleep(10)
        return self.answers


@workflow
class Recorded:
    """Time, ids and chance are part of the history."""

    async def run(self, ctx: Context) -> list[Any]:
        first = [str(ctx.now()), str(ctx.uuid()), ctx.random.randrange(10**9)]
        await ctx.execute_local(submit, first[1])
        await ctx.sleep(60)
        return [*first, str(ctx.now()), str(ctx.uuid())]


@workflow
class Trying:
    """A local action with a policy of its own."""

    async def run(self, ctx: Context) -> str:
        try:
            return str(
                await ctx.execute_local(
                    submit, "x", timeout=5, total_timeout=60, retry=Retry(limit=2)
                )
            )
        except LocalFailed as error:
            return f"{error.kind}: {error}"


def changed(**more: Any) -> type[Any]:
    """`Build` after a change of its code."""

    @workflow(name="Build", version=2)
    class Changed(Build):
        async def run(self, ctx: Context, project: str) -> str:
            if more.get("patched") and ctx.patched("tell first"):
                await ctx.execute_local(tell, "begun", True)
            if more.get("tell"):
                await ctx.execute_local(tell, "begun", True)
            if more.get("never"):
                await ctx.wait_condition(lambda: "x" in self.ended, name="never")
            return await super().run(ctx, project)

    return Changed


@workflow
class Update:
    """Packages of several repositories: what they built, then one publish of all."""

    async def run(self, ctx: Context, source: dict[str, str]) -> list[Any]:
        graph = await ctx.run_graph(source, configuration="ci.headrace.yaml")
        if not graph.good:
            raise WorkflowFailed(f"{len(graph.of('foo/build'))} builds of foo")
        ensured = [
            ctx.ensure_job("build", run=graph.run, package="bar", cell={"arch": arch})
            for arch in ("amd64", "arm64")
        ]
        ends = await ctx.gather(*ensured)
        try:
            found = await ctx.wait_collection(
                "side-tag/x", {"foo", "bar"}, cell={"series": "noble"}, timeout=3600
            )
        except TimedOut as error:
            return [str(error)]
        needs = [{"job": each.job} for each in (*ends, *found.members)]
        await ctx.execute_job("publish", needs=needs)
        return [need["job"] for need in needs]

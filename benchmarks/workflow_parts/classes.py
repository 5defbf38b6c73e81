"""The workflows that are measured."""

from __future__ import annotations

from buildmaster.workflow import Context, LocalCall, local, signal, workflow


@local
def nothing(call: LocalCall, number: int) -> int:
    """Give back what it was given."""
    return number


@workflow
class Counting:
    """Waits for one signal after the other."""

    def __init__(self) -> None:
        self.seen = 0

    @signal
    def tick(self, number: int) -> None:
        self.seen += 1

    async def run(self, ctx: Context, count: int) -> int:
        for number in range(count):
            await ctx.wait_condition(lambda n=number: self.seen > n, name="tick")  # type: ignore[misc]
            await ctx.execute_local(nothing, number)
        return self.seen


@workflow
class Napping:
    """Takes a step for each of so many naps."""

    async def run(self, ctx: Context, count: int) -> int:
        for _ in range(count):
            await ctx.sleep(0)
        return count


@workflow
class Calling:
    """Takes a step for each of so many calls of a local action."""

    async def run(self, ctx: Context, count: int) -> int:
        for number in range(count):
            await ctx.execute_local(nothing, number)
        return count


@workflow
class Sleeping:
    """Sleeps, and knows a little."""

    def __init__(self) -> None:
        self.ended: dict[str, bool] = {}

    async def run(self, ctx: Context, seconds: float) -> str:
        await ctx.sleep(seconds)
        return "awake"


ALL = (Counting, Napping, Calling, Sleeping)

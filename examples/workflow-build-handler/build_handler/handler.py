"""The workflow: source build, then binary builds, and what people are shown meanwhile."""

from __future__ import annotations

from typing import Any

from build_handler.copr import SOURCE, state_of, submit_binaries, submit_source, tell
from buildmaster.workflow import (
    Context,
    Delivery,
    Retry,
    TimedOut,
    WorkflowFailed,
    query,
    signal,
    webhook,
    workflow,
)

RETRY = Retry(limit=20, delay=0.2, longest=60)


@workflow
class BuildHandler:
    """Builds a commit of a project on a Copr server."""

    def __init__(self) -> None:
        self.ended: dict[str, bool] = {}

    @signal(key=lambda build, chroot, ok: f"{build} {chroot}")
    def build_ended(self, build: int, chroot: str, ok: bool) -> None:
        self.ended[f"{build} {chroot}"] = ok

    @query
    def so_far(self) -> dict[str, bool]:
        return self.ended

    @webhook("copr")
    @staticmethod
    def of_copr(message: dict[str, Any]) -> list[Delivery]:
        """The server says which build ended; its workflow is named after the commit."""
        ended = [message["build"], message["chroot"], message["ok"]]
        name = f"build-{message['project']}"
        return [Delivery(name, "build_ended", ended)]

    async def run(
        self,
        ctx: Context,
        project: str,
        commit: str,
        chroots: list[str],
        patience: float = 600.0,
    ) -> str:
        source = await ctx.execute_local(submit_source, project, commit, retry=RETRY)
        built = await self.has_built(ctx, source, SOURCE, patience)
        await ctx.execute_local(tell, project, commit, "source", built, retry=RETRY)
        if not built:
            raise WorkflowFailed("the source package did not build")

        build = await ctx.execute_local(
            submit_binaries, project, source, chroots, retry=RETRY
        )
        waiting = [self.has_built(ctx, build, chroot, patience) for chroot in chroots]
        all_built = all(await ctx.gather(*waiting))
        await ctx.execute_local(tell, project, commit, "binaries", all_built, retry=RETRY)
        return "built" if all_built else "some binary packages did not build"

    async def has_built(
        self, ctx: Context, build: int, chroot: str, patience: float
    ) -> bool:
        """Whether it was built; who hears nothing of it for a while asks."""
        key = f"{build} {chroot}"
        while key not in self.ended:
            try:
                await ctx.wait_condition(
                    lambda: key in self.ended, name=f"{chroot} built", timeout=patience
                )
            except TimedOut:
                state = await ctx.execute_local(state_of, build, chroot, retry=RETRY)
                if state != "running":
                    self.ended.setdefault(key, state == "succeeded")
        return self.ended[key]

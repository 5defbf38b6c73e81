"""A workflow over several repositories: all are built and tested, and go out together."""

from __future__ import annotations

from typing import Any

from buildmaster.workflow import Context, WorkflowFailed, query, workflow

WEEK = 7 * 86400.0


@workflow
class Update:
    """Builds repositories, and publishes once all members of a collection are there."""

    def __init__(self) -> None:
        self.files: dict[str, str] = {}

    @query
    def made(self) -> dict[str, str]:
        return self.files

    async def run(
        self, ctx: Context, repositories: list[str], collection: str, members: list[str]
    ) -> dict[str, Any]:
        sources = [{"kind": "git", "repository": each} for each in repositories]
        graphs = await ctx.gather(
            *(ctx.start_graph(source, trigger="commit") for source in sources)
        )
        bad = [node.name for graph in graphs for node in graph.nodes if not node.good]
        if bad:
            raise WorkflowFailed(f"not good: {', '.join(bad)}")
        for graph in graphs:
            for node in graph.nodes:
                self.files |= {file.path: file.sha256 for file in node.files}
        # Others may put members there, too, whenever they like.
        found = await ctx.wait_collection(collection, members, timeout=WEEK)
        # A job with this trigger, which the graphs leave out.
        publish = await ctx.ensure_job("publish", run=graphs[0].run, trigger="update")
        return {
            "members": [each.member for each in found.members],
            "published": publish.result,
        }

"""The source of a build: fetched once; every pipeline job gets a copy of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from protocol.order import GitSource, Order
from worker.supervisor.blobs import Blobs, NoSuchBlob
from worker.supervisor.endings import CannotRun
from worker.supervisor.settings import Settings


def fetch(
    order: Order,
    settings: Settings,
    blobs: Blobs,
    folder: Path,
    say: Callable[[str], None],
) -> Path:
    """Get the source of ``order`` into ``folder``; the folder that it lies in.

    `Malformed` or `CannotRun` say whose fault it is that this cannot be done; OSError if
    the disk is full.
    """
    target = folder / "source"
    source = order.source
    if isinstance(source, GitSource):
        from worker.supervisor import git

        protocols = settings.git_protocols
        url = git.remote(source.repository, protocols).url
        say(f"fetching commit {source.commit} of {url}")
        cache = Path(settings.cache)
        if git.fetch(source.repository, source.commit, cache, target, protocols):
            from worker.environments.budget import trim_mirrors

            trim_mirrors(cache, settings.cache_limit)
        return target
    from worker.supervisor import archive

    say(f"fetching the source tree {source.sha256[:12]} ({source.size:,} bytes)")
    received = folder / "source.tar"
    try:
        blobs.download(source.sha256, source.size, received, source.url)
    except NoSuchBlob as error:
        raise CannotRun(f"the source tree is gone: {error}", final=True) from error
    archive.unpack(received, target, settings.tree_limit)
    received.unlink()
    return target

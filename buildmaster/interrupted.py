"""Uploads that broke off, kept for a while so that they can go on where they stopped."""

from __future__ import annotations

from dataclasses import dataclass

from twisted.internet.interfaces import IDelayedCall, IReactorTime

from buildmaster.blobs import Upload

#: Bytes from which it is worth it.
WORTH_KEEPING = 1024 * 1024
#: Seconds for which one is kept, and how many are: each has a file open.
KEPT_FOR = 600.0
MOST = 100


@dataclass(frozen=True)
class _Kept:
    upload: Upload
    end: IDelayedCall


class Interrupted:
    """What was sent so far, by who sent it and the hash of the whole.

    Nobody goes on with what another one began: what arrives is held against its hash only
    when it is whole, and a stranger could spoil it until then.
    """

    def __init__(self, clock: IReactorTime) -> None:
        self._clock = clock
        self._kept: dict[tuple[str, str], _Kept] = {}

    def keep(self, who: str, sha256: str, upload: Upload) -> None:
        """Take an upload whose sender went away; a short one, or an older one, ends."""
        if upload.size < WORTH_KEEPING:
            upload.abort()
            return
        self._forget((who, sha256))
        if len(self._kept) >= MOST:
            self._forget(next(iter(self._kept)))
        key = (who, sha256)
        self._kept[key] = _Kept(upload, self._clock.callLater(KEPT_FOR, self._forget, key))

    def size(self, who: str, sha256: str) -> int:
        """How many bytes there are already."""
        kept = self._kept.get((who, sha256))
        return kept.upload.size if kept is not None else 0

    def take(self, who: str, sha256: str) -> Upload:
        """The upload, to go on with; KeyError if there is none."""
        kept = self._kept.pop((who, sha256))
        kept.end.cancel()
        return kept.upload

    def stop(self) -> None:
        """Forget all."""
        for key in list(self._kept):
            self._forget(key)

    def _forget(self, key: tuple[str, str]) -> None:
        kept = self._kept.pop(key, None)
        if kept is not None:
            kept.upload.abort()
            if kept.end.active():
                kept.end.cancel()

"""What an order may hold, so that it can be sent to a worker."""

from __future__ import annotations

from typing import Any

from twisted.trial.unittest import SynchronousTestCase

from buildmaster.orders import NoOrder, check_size
from protocol.order import GitSource, HandedOver, KeptFile, Order
from tests.worker.supervisor.attempts import job, order


class SizeTests(SynchronousTestCase):
    def order(self, run: str = "true", **changes: Any) -> Order:
        source = GitSource(repository="/r", commit="a" * 40)
        return order(source, [[("one", job(run))]], **changes)

    def handed(self, count: int) -> tuple[HandedOver, ...]:
        """So many files, of two jobs."""
        files = tuple(
            KeptFile(path=f"{'n' * 100}{number}", sha256="0" * 64, size=1)
            for number in range(count // 2)
        )
        return (HandedOver(job="a", files=files), HandedOver(job="b", files=files))

    def test_what_is_too_large_is_named(self) -> None:
        check_size(self.order(handed=self.handed(2000)))
        with self.assertRaisesRegex(NoOrder, "names of the 4000 files that it is handed"):
            check_size(self.order(handed=self.handed(4000)))
        with self.assertRaisesRegex(NoOrder, "part of the pipeline takes .*fewer or short"):
            check_size(self.order("x" * 700_000, handed=self.handed(200)))

"""Counts failed tries to come in, by who makes them, and says when it is too many."""

from __future__ import annotations

import ipaddress
import time
from collections import OrderedDict
from collections.abc import Callable

from twisted.logger import Logger

#: Failed tries that an address has at once, and seconds until it has one more again.
BURST = 10
REFILL = 6.0
#: Those that are remembered; those that failed longest ago are forgotten first.
MOST_ADDRESSES = 10_000


def network_of_peer(peer: str) -> str:
    """From where ``peer`` comes, an address with a port."""
    return network_of(peer.rpartition(":")[0].strip("[]"))


def network_of(host: str) -> str:
    """The address ``host``, or of IPv6 what one machine has all of."""
    try:
        found = ipaddress.ip_address(host)
    except ValueError:
        return host
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, 64), strict=False))
    return host


class Knocks:
    """A bucket of failures for each who tries: by default an address with a port."""

    log = Logger()

    def __init__(
        self,
        seconds: Callable[[], float] = time.monotonic,
        key: Callable[[str], str] = network_of_peer,
        *,
        what: str = "join",
        burst: int = BURST,
    ) -> None:
        """``seconds`` is a clock that never jumps; ``key`` says whose failure it is.

        ``what`` they try, for the log; ``burst`` are the failures that one has at once.
        """
        self._seconds = seconds
        self._key = key
        self._what = what
        self._burst = burst
        self._failures: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def are_too_many(self, who: str) -> bool:
        """Whether ``who`` may not try just now."""
        return self._level(self._key(who)) > self._burst - 1

    def note_failure(self, who: str) -> None:
        """``who`` tried with what is nobody's."""
        key = self._key(who)
        level = self._level(key) + 1
        self._failures[key] = (level, self._seconds())
        self._failures.move_to_end(key)
        if len(self._failures) > MOST_ADDRESSES:
            self._failures.popitem(last=False)
        if self._burst - 1 < level <= self._burst:
            # As Python writes it: nothing in a name moves a line of the log.
            self.log.warn(
                "{who} failed to {what} {burst} times: it has to wait between tries",
                who=key if key.isascii() and key.isprintable() else ascii(key),
                what=self._what,
                burst=self._burst,
            )

    def _level(self, key: str) -> float:
        level, at = self._failures.get(key, (0.0, 0.0))
        return max(0.0, level - (self._seconds() - at) / REFILL)

"""Daemons that speak other versions of the protocol than this checkout does.

A daemon of an older release is the same code, told before anything else is loaded that
its versions are older ones; a newer one likewise. What a real older release sends, as
bytes, is in ``tests/protocol/test_old_messages.py``.
"""

from __future__ import annotations

#: The script that becomes a daemon.
TWISTD = "from twisted.scripts.twistd import run; run()"


#: One that knows nothing of what nodes are handed, as those of before they came.
WITHOUT_HANDED_FILES = f"import protocol.order; protocol.order.TAKEN = (); {TWISTD}"


def speaking(oldest: int, newest: int) -> str:
    """`TWISTD` for a daemon that offers just these versions."""
    return (
        f"import protocol; protocol.OLDEST_PROTOCOL_VERSION = {oldest};"
        f" protocol.PROTOCOL_VERSION = {newest}; {TWISTD}"
    )

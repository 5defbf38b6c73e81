"""The database layer: the only package that imports txpostgres.

Read `access` first: `Database` is what everybody else uses, `Cursor` what a transaction
hands to the stores. Below it, `pool` keeps connections alive and lends them in turn,
`listening` hears notifications, `hold` holds a name while the process lives, and
`connection` makes one txpostgres connection safe to cancel, to lose and to listen on.
`errors` names what can go wrong, `values` how Python values travel, and `prepared` is SQL
that is planned once.

This package is one door on purpose, so its names are given here, too.
"""

from buildmaster.database.access import Cursor, Database
from buildmaster.database.errors import (
    BadDatabaseAddress,
    DatabaseAway,
    NoRow,
    NotCommitted,
    OutcomeUnknown,
    StatementCancelled,
    TooManyRows,
    TransactionOver,
)
from buildmaster.database.hold import HeldByAnother, Hold
from buildmaster.database.prepared import Prepared

__all__ = [
    "BadDatabaseAddress",
    "Cursor",
    "Database",
    "DatabaseAway",
    "HeldByAnother",
    "Hold",
    "NoRow",
    "NotCommitted",
    "OutcomeUnknown",
    "Prepared",
    "StatementCancelled",
    "TooManyRows",
    "TransactionOver",
]

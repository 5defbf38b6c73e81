"""What can go wrong between the farm and its database, one exception per remedy.

An error that PostgreSQL reports about a statement (a broken constraint, say) is not
here: it reaches the caller as psycopg2's own, `psycopg2.errors.UniqueViolation` etc.
"""


class DatabaseAway(Exception):
    """PostgreSQL cannot be reached; the farm keeps trying, and the caller may, too.

    A transaction that ends with this one has changed nothing.
    """


class OutcomeUnknown(DatabaseAway):
    """The connection broke while a change was being made: it may have been made, or not.

    Only a statement on its own, or the commit of a transaction, can end so.
    """


class BadDatabaseAddress(Exception):
    """The DSN cannot be read: the operator's to correct."""


class NotCommitted(Exception):
    """A statement of the transaction had failed and the error was swallowed.

    PostgreSQL then answers a commit with a rollback: nothing was changed. A mistake in
    the code that ran the transaction.
    """


class StatementCancelled(Exception):
    """PostgreSQL ended a statement before its time: its timeout, or an administrator."""


class TransactionOver(Exception):
    """A statement was sent to a transaction that has ended: a mistake in the code."""


class NoRow(LookupError):
    """A statement that had to give one row gave none."""


class TooManyRows(LookupError):
    """A statement that had to give one row at most gave more."""

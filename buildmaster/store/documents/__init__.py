"""Status documents: JSON made by PostgreSQL and passed on as it is.

One module for each kind of thing. Every list is a bounded page found by key, and every
document carries the event id from which a follower misses nothing.
"""

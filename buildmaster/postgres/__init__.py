"""A private PostgreSQL that lives and dies with its daemon.

Read ``embedded`` first: it starts and stops one. ``account`` says who runs it, ``binaries``
where its programs are, ``placement`` where its files and its socket lie, ``cluster`` what
is in them; ``child`` and ``launch`` see to it that it never outlives the daemon, and
``remnants`` to what is there all the same.
"""

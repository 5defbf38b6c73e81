"""Environments: where the commands of a pipeline job run.

Read ``interface`` first: what every environment promises.  Then ``native`` and
``chroot``, which keep the promises; both stand on ``space`` (a process space that dies
as one), ``tree`` (files moved in and out past hostile names and links) and
``syscalls``.  ``images`` keeps what chroots start from; ``bootstrap`` makes it, from the
mirrors that ``apt_sources`` reads off the host.  ``traces`` removes what a killed
process left behind.
"""

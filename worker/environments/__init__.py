"""Environments: where the commands of a pipeline job run.

Read ``interface`` first: what every environment promises.  Then those that keep the
promises:

* ``native`` and ``chroot`` stand on ``space`` (a process space that dies as one), ``tree``
  (files moved in and out past hostile names and links), ``rootfs`` with ``quota``, and
  ``groups`` (the kernel's bounds), all by ``syscalls``;
* ``vm`` stands on ``machine`` (a qemu), ``line`` and ``delivering`` (commands and files by
  way of ``guest/agent``), ``kernel`` and ``disks``.

``images`` keeps what they start from; ``bootstrap`` makes it, from the mirrors that
``apt_sources`` reads off the host; ``layers`` keeps what packages add to it.  All are
folders in a ``store``, which ``budget`` keeps small.  ``traces`` removes what a killed
process left behind.
"""

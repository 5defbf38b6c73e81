"""What the master must know of a source before it can plan: the commit and one file.

`address` says what git may be given at all; `git` runs git commands without blocking and
without trusting; `reader` asks them about a repository; `archive` reads one file of a work
tree that somebody sent.
"""

"""Kinds of jobs: what is the same for all jobs of a kind, ours and those of plug-ins.

Read `interface` first: it is what authors of kinds import. `builtin` has our own two,
`registry` finds the others, `ends` tells them of jobs that have ended.
"""

"""Runs workflows on a farm: what is around the pure engine in `buildmaster.workflow`.

Read `running` first: it puts the parts together. `stepping` takes the steps of workflows,
each a transaction; `timing` fires their timers; `local_calls` calls local actions and
`submitting` submits builds, after the commit. `control` is what others can do: start,
signal, ask, cancel. `interface` is for plug-ins, `classes` finds them, `threads` runs
their code.
"""

"""The supervisor: one process for each attempt, which outlives the worker daemon.

`attach` is what the daemon needs of it; read that first. `spool` is the file of reports
between the two, `control` the lines on the socket between them, `settings` what the
worker's operator decided. Inside the process `attempt` runs the order from the first
report to the last, and `watch` sees to it that it ends when somebody says so or nobody
says anything.
"""

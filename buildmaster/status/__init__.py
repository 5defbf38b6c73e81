"""The status of a farm, defined once and served in every way.

Read `interface` first: what can be asked. `questions` are its parameters, `documents` its
answers; `methods` is the table that everything else is made from. `reading` answers
in-process; `buildmaster.http`, `buildmaster.status.remote` and ``headrace status`` carry
the same questions and answers over HTTP, Perspective Broker and the command line.
"""

"""Jobs that refer to each other: ``.headrace.yaml``, read and expanded. Pure.

Read in this order: `model` (what a file says), `reading` with `job_keys`, `needs_keys` and
`package_keys` (how it is read), `axes` (cells of one job), `matching` (which cells of
another one each needs), `expansion` (the graph of nodes), `cycles`; `json_schema` is for
editors.
"""

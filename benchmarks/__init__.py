"""Measures what Headrace promises, beside what the same machine can do otherwise.

``python -m benchmarks NAME`` runs the module ``benchmarks.NAME``. To read first:
`report` (what a run gives), `bench` (what a run has at hand), then one NAME, such as
`queue`, whose parts are in ``queue_parts``. Never installed; ``docs/benchmarks.rst``
tells how to add one.
"""

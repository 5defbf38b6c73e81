"""A kind of job that imports the heads of a git repository, again and again.

``kind`` is for the buildmaster, ``performing`` for workers, ``sql`` for the database.
``docs/kinds.rst`` of Headrace explains each part.
"""

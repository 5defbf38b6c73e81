"""Builds a source package, then binary packages, on a server that loses its messages.

`handler` is the workflow, from top to bottom what happens; `copr` talks to the server.
"""

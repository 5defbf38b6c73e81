"""The status and write interface over HTTP."""

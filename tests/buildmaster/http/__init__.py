"""Tests of the status and the write path over HTTP."""

"""Tests of the status, however it is asked."""

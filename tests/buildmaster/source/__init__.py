"""Tests of what the master reads of sources."""

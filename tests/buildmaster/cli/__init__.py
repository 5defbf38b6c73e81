"""Tests of `buildmaster.cli`."""

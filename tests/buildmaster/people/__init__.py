"""Tests of `buildmaster.people`."""

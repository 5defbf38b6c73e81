"""Tests of the package buildmaster."""

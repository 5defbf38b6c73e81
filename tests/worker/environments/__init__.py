"""Tests of the package worker.environments."""

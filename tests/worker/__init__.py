"""Tests of the package worker."""

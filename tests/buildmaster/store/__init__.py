"""Tests of the package ``buildmaster.store``."""

"""Tests, run by ``python -m twisted.trial tests``."""

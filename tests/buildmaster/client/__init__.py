"""Tests of `buildmaster.client`."""

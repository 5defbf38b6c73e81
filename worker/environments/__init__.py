"""Environments: where the commands of a pipeline job run."""

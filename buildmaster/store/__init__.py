"""Every SQL statement of the buildmaster, beside its typed method."""

"""A private PostgreSQL that lives and dies with its daemon."""

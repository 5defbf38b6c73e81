"""The database: numbered SQL files, applied in order by `schema.migrate`."""

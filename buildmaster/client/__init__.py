"""A client of a farm, for the command line and for any Twisted program.

`http` is the one to use; `documents` are the types it answers with; `event_stream`
reads server-sent events.
"""

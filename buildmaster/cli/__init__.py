"""The command ``headrace``.

`main` reads the command line and runs one command. Each command is a module named in
`main.COMMANDS` with a function ``add(subparsers)``, which adds a parser whose default
``act`` is what to do: a plain function ``act(arguments) -> int``, or, for what needs the
reactor, ``async def act(arguments, context) -> int`` with a `context.Context`. What is
returned is the exit status; a `problems.CommandFailed` or a
`buildmaster.client.http.ClientError` becomes a sentence on standard error.
"""

"""What version 1 of the interface promises, asked of any farm by HTTP alone.

``HEADRACE_API_URL`` is its address, ``HEADRACE_API_TOKEN`` a token with the scope admin;
the farm should be for this only. Nothing here imports anything but Python's own library,
for the tests of one release are run against the masters of later ones
(``docs/stability.rst``).
Once released, what is asserted here may only become more.
"""

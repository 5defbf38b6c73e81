"""Why a job waits, when it will start, and why it ended.

Read ``facts`` and ``picture`` (what is known), ``misses`` (which worker nearly suits),
``standings`` (how those stand that do), ``blocks`` (what is in the way), ``outlook`` (when
it starts), ``telling`` (the document).
"""

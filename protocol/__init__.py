"""What a buildmaster and its workers say to each other.

One conversation, carried as frames of bytes by a carrier (`protocol.pb` or
`protocol.websocket`) that knows nothing of what they mean. A frame holds messages of
`protocol.messages`: one, or an array of those that were said at about the same time; who
may say what, and when, is the table in `protocol.conversation`, which holds for each in
turn. Where one of a frame is no message, or out of turn, none of them is acted upon, and
the line closes.

    worker                                   master
    -> hello        versions, worker, token, boot, offers, performs, slots, holding
                                             <- welcome   version, session, recorded, forget
                                             <- goodbye   reason      (and the line closes)
                                             <- start     order: one attempt of a job
    -> accepted     job, attempt             the worker has the order
    -> refused      job, attempt, reason     it cannot take it; nobody's fault, try another
    -> report       job, attempt, number, body
                                             <- recorded  job, attempt, number
                                             <- forget    job, attempt
                                             <- cancel    job, attempt, why
    -> alive        holding                  every few seconds, also when nothing runs
                                             <- alive

``holding`` names every attempt that runs or whose reports are not yet all recorded.
Everything an attempt has to tell is a *report*: a log chunk, the start or the end of a
pipeline job, the end of the attempt. Reports of an attempt are numbered from 1 without
gaps. The master records them in that order, each once, and answers with the highest
number it has recorded; the worker keeps a report until then, that of a build on its disk.
So after any break both sides need only one number for each attempt: ``welcome.recorded``
tells it, and the worker goes on with the report after it.

A build has a supervisor, which outlives the worker's daemon. A native job has not: it is
lost with the daemon, which the master sees in the next ``hello``. One that ends at once
and has printed nothing is told in a single message: its ``report`` number 1, the end,
stands for ``accepted``, too.

Every report carries (job, attempt), the fencing token. One for an attempt that is no
longer the job's current one changes nothing and is answered with ``forget``: the worker
kills what still runs and removes its traces.

``cancel`` may cross with the last report: both sides expect that. A worker that is told
to cancel ends the attempt and reports its end with the result ``cancelled``.

Version 1 knows one message for each frame, and builds only. Until a side has heard what
version the other speaks, it says one message for each frame.
"""

OLDEST_PROTOCOL_VERSION = 1
PROTOCOL_VERSION = 2
#: The first version in which a frame may hold several messages.
SEVERAL_SINCE = 2

"""What a buildmaster and its workers say to each other.

One conversation, carried as frames of bytes by a carrier (`protocol.pb` or
`protocol.websocket`) that knows nothing of what they mean. A frame holds one message of
`protocol.messages`; who may say what, and when, is the table in `protocol.conversation`.

    worker                                   master
    -> hello        versions, worker, token, boot, offers, slots, holding
                                             <- welcome   version, session, recorded, forget
                                             <- goodbye   reason      (and the line closes)
                                             <- start     order: one attempt of a job
    -> accepted     job, attempt             the worker has the order on its disk
    -> refused      job, attempt, reason     it cannot take it; nobody's fault, try another
    -> report       job, attempt, number, body
                                             <- recorded  job, attempt, number
                                             <- forget    job, attempt
                                             <- cancel    job, attempt, why
    -> alive        holding                  every few seconds, also when nothing runs
                                             <- alive

``holding`` names every attempt whose supervisor lives or whose reports are not yet
all recorded. Everything an attempt has to tell is a *report*: a log chunk, the start or
the end of a pipeline job, the end of the attempt. Reports of an attempt are numbered
from 1 without gaps. The master records them in that order, each once, and answers with
the highest number it has recorded; the worker keeps a report on its disk until then.
So after any break both sides need only one number for each attempt: ``welcome.recorded``
tells it, and the worker goes on with the report after it.

Every report carries (job, attempt), the fencing token. One for an attempt that is no
longer the job's current one changes nothing and is answered with ``forget``: the worker
kills what still runs and removes its traces.

``cancel`` may cross with the last report: both sides expect that. A worker that is told
to cancel ends the attempt and reports its end with the result ``cancelled``.
"""

OLDEST_PROTOCOL_VERSION = 1
PROTOCOL_VERSION = 1

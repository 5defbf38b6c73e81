"""The status of a farm over HTTP, with the methods of `IStatus`."""

from __future__ import annotations

from collections import deque

from twisted.internet.defer import CancelledError, Deferred
from twisted.python.failure import Failure

from buildmaster.client.event_stream import ServerSentEvent
from buildmaster.client.http import Client, FarmRefused
from buildmaster.status.asking import address
from buildmaster.status.methods import METHODS
from buildmaster.status.news import Happened, News
from buildmaster.status.problems import StatusProblem, problem_of
from buildmaster.status.proxy import StatusProxy
from buildmaster.status.questions import Question

#: News that may wait for a reader of this process.
WAITING = 10_000


class HttpStatus(StatusProxy):
    """`IStatus`, asked by a `Client`."""

    def __init__(self, client: Client) -> None:
        self._client = client

    async def ask(self, name: str, asked: Question) -> bytes:
        """The document that answers ``asked``, as the farm sent it."""
        try:
            return await self._client.document(address(METHODS[name], asked))
        except FarmRefused as error:
            raise _refused(error) from error

    def follow(
        self, method: str, asked: Question, since: str | None = None
    ) -> HttpFollowing:
        """What happens to an answer; see `IStatus.follow`."""
        return HttpFollowing(self._client, address(METHODS[method], asked, since=since))


class HttpFollowing:
    """An asynchronous iterator of `News`, heard as server-sent events.

    It raises `FarmAway` when the stream breaks: go on from the last ``cursor``.
    """

    def __init__(self, client: Client, path: str) -> None:
        self._client = client
        self._path = path
        self._stream: Deferred[None] | None = None
        self._waiting: deque[News] = deque()
        self._news: Deferred[None] | None = None
        self._end: Exception | None = None
        self._is_closed = False

    def __aiter__(self) -> HttpFollowing:
        return self

    async def __anext__(self) -> News:
        if self._is_closed:
            raise StopAsyncIteration
        if self._stream is None:
            self._stream = Deferred.fromCoroutine(
                self._client.follow(self._path, self._heard)
            )
            self._stream.addErrback(self._broke)
        if not self._waiting and self._end is None:
            self._news = Deferred()
            await self._news
        if self._waiting:
            return self._waiting.popleft()
        self.close()
        assert self._end is not None
        raise self._end

    def close(self) -> None:
        """Follow no longer. Harmless when repeated."""
        self._is_closed = True
        if self._stream is not None:
            self._stream.cancel()

    def _heard(self, event: ServerSentEvent) -> None:
        data = event.data.encode()
        if event.kind in ("too-slow", "refused"):
            self._end = problem_of(data)
        elif event.kind == "snapshot":
            self._waiting.append(News(event.id, data))
        else:
            happened = Happened(event.id, event.kind, data)
            self._waiting.append(News(event.id, events=(happened,)))
        if len(self._waiting) > WAITING:
            self._end = StatusProblem(503, "too_slow", "too much news waits to be read")
        self._wake()

    def _broke(self, failure: Failure) -> None:
        if failure.check(CancelledError) is None and self._end is None:
            error = failure.value
            if isinstance(error, FarmRefused):
                error = _refused(error)
            assert isinstance(error, Exception)
            self._end = error
        self._wake()

    def _wake(self) -> None:
        news, self._news = self._news, None
        if news is not None:
            news.callback(None)


def _refused(error: FarmRefused) -> StatusProblem:
    return StatusProblem(error.status, error.code, str(error))

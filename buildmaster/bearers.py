"""Whose a token is, whichever way it came in."""

from __future__ import annotations

from buildmaster.clients import Clients
from buildmaster.grants import FARM, Grant
from buildmaster.tokens import AttemptGrant, FarmGrant, FileGrant, Tokens


class Bearers:
    """Knows the farm's own token, those of attempts, and those of clients."""

    def __init__(self, tokens: Tokens, clients: Clients) -> None:
        self._tokens = tokens
        self._clients = clients

    def find(self, token: str) -> Grant | None:
        """What ``token`` grants; None if it is nobody's."""
        match self._tokens.check(token):
            case FarmGrant():
                return FARM
            case AttemptGrant() as attempt:
                return Grant(
                    f"attempt {attempt.attempt} of job {attempt.job}", attempt=attempt
                )
            case FileGrant() as file:
                return Grant("another master", file=file)
        return self._clients.find(token)

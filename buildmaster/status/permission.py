"""Who may ask which question: for ways that have no routes, as PB."""

from __future__ import annotations

from buildmaster.database import Database
from buildmaster.grants import Grant, Scope
from buildmaster.http.problems import Problem
from buildmaster.http.projects import Projects
from buildmaster.http.scopes import Need, permit
from buildmaster.status.methods import Method
from buildmaster.status.problems import StatusProblem
from buildmaster.status.questions import Question

_NEEDS = {Scope.READ: Need.READ, Scope.ADMIN: Need.ADMIN}


class Permission:
    """What one asker may ask. The rules are those of HTTP."""

    def __init__(
        self, database: Database, grant: Grant | None, *, open_reading: bool
    ) -> None:
        self._projects = Projects(database)
        self._grant = grant
        self._open_reading = open_reading

    async def check(self, method: Method, question: Question) -> None:
        """Go on if the question may be asked; `StatusProblem` 401 or 403."""
        need = _NEEDS[method.scope]
        try:
            permit(need, self._grant, open_reading=self._open_reading)
            if not (self._open_reading and need is Need.READ):
                await self._projects.check_about(
                    self._grant,
                    getattr(question, "run", None),
                    getattr(question, "job", None),
                    getattr(question, "repository", None)
                    if method.is_of_repository
                    else None,
                )
        except Problem as told:
            raise StatusProblem(told.status, told.code, told.detail) from told

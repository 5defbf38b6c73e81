"""Who may ask which question: for ways that have no routes, as PB."""

from __future__ import annotations

from buildmaster.database import Database
from buildmaster.grants import Grant, Scope
from buildmaster.http.problems import Problem
from buildmaster.http.projects import Projects
from buildmaster.http.scopes import Need, limits, outside, permit
from buildmaster.status.methods import FILTERED, Method
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

    def submitter(self) -> Grant:
        """Who may submit what is of no project; `StatusProblem` if this one may not."""
        try:
            permit(Need.SUBMIT, self._grant, open_reading=self._open_reading)
            assert self._grant is not None
            if not self._grant.reaches(Scope.SUBMIT, None):
                raise outside(self._grant, Scope.SUBMIT)
        except Problem as told:
            raise StatusProblem(told.status, told.code, told.detail) from told
        return self._grant

    def within(self, method: Method) -> tuple[str, ...] | None:
        """The projects that the asker may see something of; None: everything."""
        need = _NEEDS[method.scope]
        return limits(need, self._grant, open_reading=self._open_reading)

    async def check(self, method: Method, question: Question) -> None:
        """Go on if the question may be asked; `StatusProblem` 401 or 403."""
        need = _NEEDS[method.scope]
        try:
            permit(need, self._grant, open_reading=self._open_reading)
            run, job = getattr(question, "run", None), getattr(question, "job", None)
            is_list = run is None and job is None and method.name in FILTERED
            if not is_list and not (self._open_reading and need is Need.READ):
                repository = getattr(question, "repository", None)
                await self._projects.check_about(
                    self._grant,
                    method.scope,
                    run,
                    job,
                    repository if method.is_of_repository else None,
                )
        except Problem as told:
            raise StatusProblem(told.status, told.code, told.detail) from told

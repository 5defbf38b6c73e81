"""Keeps those who have a scope for some projects only to the runs and jobs of those."""

from __future__ import annotations

from buildmaster.database import Database
from buildmaster.grants import Grant, Scope
from buildmaster.http.call import Call
from buildmaster.http.keys import PATH as KEYS
from buildmaster.http.queries import LARGEST_ID
from buildmaster.http.scopes import ARTIFACT, SCOPES, Need, outside
from buildmaster.status.methods import FILTERED, METHODS
from buildmaster.store import projects as store

#: Lists that show somebody what is of his projects, and what they may see as far as it is
#: of one repository that is theirs.
_FILTERED = frozenset({*(METHODS[name].path for name in FILTERED), KEYS})
_OF_REPOSITORY = frozenset(
    method.path for method in METHODS.values() if method.is_of_repository
)


class Projects:
    """Looks up whose a run, a job or a file is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def check(self, path: str, need: Need, call: Call) -> None:
        """Go on if what ``call`` is about lies within its grant's projects; `Problem`.

        What is about no repository, as a worker is, lies outside. Lists that can be of some
        projects only are (`Call.within`). A submission names its repository in its body:
        its handler looks by itself.
        """
        grant = call.grant
        if grant is None or need in (Need.NOTHING, Need.STORE):
            return
        scope = SCOPES[need]
        if _is_free(grant, scope):
            return
        if need is Need.SUBMIT and not call.parts:
            return
        if path == ARTIFACT:
            repositories = await store.repositories_of_file(
                self._database, call.parts["sha256"]
            )
            if not any(grant.reaches(scope, each) for each in repositories):
                raise outside(grant, scope)
            return
        run = call.parts.get("run") or call.query.text("run")
        job = call.parts.get("job") or call.query.text("job")
        if run is None and job is None and path in _FILTERED:
            return
        await self.check_about(
            grant,
            scope,
            None if run is None else _id(run),
            None if job is None else _id(job),
            call.query.text("repository") if path in _OF_REPOSITORY else None,
        )

    async def check_about(
        self,
        grant: Grant | None,
        scope: Scope,
        run: int | None,
        job: int | None,
        repository: str | None = None,
    ) -> None:
        """Go on if ``run``, or ``job``, or ``repository`` lies within the projects.

        `Problem` if not. The first of them decides that was given.
        """
        if grant is None or _is_free(grant, scope):
            return
        if run is not None:
            repository = await store.repository_of_run(self._database, run)
        elif job is not None:
            repository = await store.repository_of_job(self._database, job)
        if not grant.reaches(scope, repository):
            raise outside(grant, scope)


def _is_free(grant: Grant, scope: Scope) -> bool:
    """Whether no project bounds it: the tokens of attempts and masters know none."""
    is_file = grant.attempt is not None or grant.file is not None
    return is_file or grant.projects(scope) is None


def _id(text: str) -> int:
    """0, which nothing has, for what is no id: the handler says so."""
    digits = text.isascii() and text.isdigit() and len(text) < 20
    number = int(text) if digits else 0
    return number if number <= LARGEST_ID else 0

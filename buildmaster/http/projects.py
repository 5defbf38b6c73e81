"""Keeps the bearer of a project's token to the runs and jobs of that project."""

from __future__ import annotations

from buildmaster.database import Database
from buildmaster.grants import Grant
from buildmaster.http.call import Call
from buildmaster.http.queries import LARGEST_ID
from buildmaster.http.scopes import ARTIFACT, Need, outside
from buildmaster.status.methods import METHODS
from buildmaster.store import projects as store

#: Lists that a project may see, as far as they are of one of its repositories.
_OF_REPOSITORY = frozenset(
    method.path for method in METHODS.values() if method.is_of_repository
)


class Projects:
    """Looks up whose a run, a job or a file is."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def check(self, path: str, need: Need, call: Call) -> None:
        """Go on if what ``call`` is about lies within its grant's project; `Problem`.

        What is about no repository, as a list of all jobs is, lies outside. A submission
        names its repository in its body: its handler looks by itself.
        """
        grant = call.grant
        if grant is None or grant.project is None or need in (Need.NOTHING, Need.STORE):
            return
        if need is Need.SUBMIT and not call.parts:
            return
        if path == ARTIFACT:
            repositories = await store.repositories_of_file(
                self._database, call.parts["sha256"]
            )
            if not any(map(grant.reaches, repositories)):
                raise outside(grant)
            return
        run = call.parts.get("run") or call.query.text("run")
        job = call.parts.get("job") or call.query.text("job")
        await self.check_about(
            grant,
            None if run is None else _id(run),
            None if job is None else _id(job),
            call.query.text("repository") if path in _OF_REPOSITORY else None,
        )

    async def check_about(
        self,
        grant: Grant | None,
        run: int | None,
        job: int | None,
        repository: str | None = None,
    ) -> None:
        """Go on if ``run``, or ``job``, or ``repository`` lies within the project.

        `Problem` if not. The first of them decides that was given.
        """
        if grant is None or grant.project is None:
            return
        if run is not None:
            repository = await store.repository_of_run(self._database, run)
        elif job is not None:
            repository = await store.repository_of_job(self._database, job)
        if not grant.reaches(repository):
            raise outside(grant)


def _id(text: str) -> int:
    """0, which nothing has, for what is no id: the handler says so."""
    digits = text.isascii() and text.isdigit() and len(text) < 20
    number = int(text) if digits else 0
    return number if number <= LARGEST_ID else 0

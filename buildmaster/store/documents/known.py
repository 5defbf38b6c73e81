"""Documents of rows that did not change since they were made: they are not made again.

A row's version is PostgreSQL's own (``xmin``, which every change of the row sets anew), and
every answer asks the database for the versions of all that it shows. So nothing here is
ever stale; only the making of JSON is saved, which is most of the cost of a list of jobs.
What shows a few numbers of each row (a grid, a graph, the line, a timeline, a history)
would gain nothing: to ask for the versions costs as much as to make it.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Mapping

#: Documents kept, of each choice of fields; and how many choices.
MOST = 20_000
CHOICES = 8


class Known:
    """Documents by id and version, the least used forgotten first."""

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._choices: OrderedDict[tuple[str, ...], OrderedDict[str, str]] = OrderedDict()

    def find(
        self, fields: tuple[str, ...], versions: Iterable[str]
    ) -> tuple[dict[str, str], list[str]]:
        """The documents there are of these ``id:version``, and those that are missing."""
        documents = self._of(fields)
        found: dict[str, str] = {}
        missing: list[str] = []
        for version in versions:
            document = documents.get(version)
            if document is None:
                missing.append(version)
            else:
                found[version] = document
        return found, missing

    def add(self, fields: tuple[str, ...], made: Mapping[str, str]) -> None:
        """Keep documents, by ``id:version``."""
        documents = self._of(fields)
        for version, document in made.items():
            documents[version] = document
            documents.move_to_end(version)
        while len(documents) > self._most:
            documents.popitem(last=False)

    def _of(self, fields: tuple[str, ...]) -> OrderedDict[str, str]:
        documents = self._choices.setdefault(fields, OrderedDict())
        self._choices.move_to_end(fields)
        while len(self._choices) > CHOICES:
            self._choices.popitem(last=False)
        return documents

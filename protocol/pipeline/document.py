"""Reads the YAML of a hostile stranger into a small tree with lines.

The text goes through libyaml's event stream, never through a composer: depth, aliases
and expanded weight are bounded as the events come. An aliased node is one object in many
places, so a tree costs what its text costs, and `weight` says what it would cost written
out in full.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

import msgspec
import yaml

from protocol.pipeline.scalars import BadScalar, Date, Value, resolved, tagged

SIZE_LIMIT = 512 * 1024  #: bytes of a configuration
DEPTH_LIMIT = 40
NODE_LIMIT = 100_000
ALIAS_LIMIT = 10_000
#: Characters, and eight for each node, with every alias written out.
WEIGHT_LIMIT = 4 * 1024 * 1024
#: Reading n of them takes libyaml n x n steps; a document needs at most a few.
_DIRECTIVE_LIMIT = 100
_DIRECTIVE = re.compile("(?:^|[\n\r\x85\u2028\u2029])%")
_LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_NODE_WEIGHT = 8
_TOO_DEEP = f"more than {DEPTH_LIMIT} levels deep"
#: From 0.2.6 on libyaml has a limit of its own, which it may reach before our first event.
_LIBYAML_TOO_DEEP = "maximum nesting depth"


class BadDocument(Exception):
    """The file's fault: it cannot be read as YAML, or not within the limits."""

    def __init__(self, line: int, message: str) -> None:
        super().__init__(message)
        self.line = line


class Scalar(msgspec.Struct, frozen=True):
    """A single value; ``text`` is how it is written."""

    value: Value
    text: str
    line: int
    weight: int
    plain: bool  #: neither quoted nor tagged
    depth: int = 0


class Entry(msgspec.Struct, frozen=True):
    """A key of a mapping with its value."""

    key: Scalar
    value: Node


class Sequence(msgspec.Struct, frozen=True):
    """A list."""

    items: tuple[Node, ...]
    line: int
    weight: int
    depth: int


class Mapping(msgspec.Struct, frozen=True):
    """A mapping with merge keys (``<<``) resolved; no two entries have equal keys."""

    entries: tuple[Entry, ...]
    line: int
    weight: int
    depth: int


Node = Scalar | Sequence | Mapping


class Duplicate(msgspec.Struct, frozen=True):
    """A key that was given twice in one mapping; the later one is in the tree."""

    path: tuple[str | int, ...]
    line: int
    first_line: int


class Document(msgspec.Struct, frozen=True):
    """A file that is YAML."""

    root: Node
    duplicates: tuple[Duplicate, ...]


def read(text: bytes) -> Document:
    """The tree that ``text`` says, or `BadDocument`. Takes well under a second."""
    if len(text) > SIZE_LIMIT:
        raise BadDocument(
            1,
            f"the configuration has more than {SIZE_LIMIT // 1024} KiB; make it smaller",
        )
    decoded = _decoded(text)
    composer = _Composer()
    try:
        for event in yaml.parse(decoded, Loader=_LOADER):
            composer.take(event)
    except yaml.reader.ReaderError as error:
        raise BadDocument(*_unreadable(decoded)) from error
    except yaml.MarkedYAMLError as error:
        raise BadDocument(*_broken(error)) from error
    if composer.root is None:
        raise BadDocument(1, "the configuration is empty; it must be a mapping")
    return Document(composer.root, tuple(composer.duplicates))


def _decoded(text: bytes) -> str:
    try:
        decoded = text.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = text.count(b"\n", 0, error.start) + 1
        raise BadDocument(line, "the configuration is not UTF-8 text") from None
    if len(_DIRECTIVE.findall(decoded)) > _DIRECTIVE_LIMIT:
        raise BadDocument(1, f"more than {_DIRECTIVE_LIMIT} lines begin with %")
    return decoded


#: What YAML calls printable; libyaml stops at anything else.
_UNPRINTABLE = re.compile(
    "[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]"
)


def _unreadable(text: str) -> tuple[int, str]:
    found = _UNPRINTABLE.search(text)
    if found is None:
        return 1, "the configuration holds a character that YAML does not allow"
    line = text.count("\n", 0, found.start()) + 1
    return line, (
        f"the control character U+{ord(found.group()):04X} is not allowed in YAML;"
        " remove it"
    )


def _broken(error: yaml.MarkedYAMLError) -> tuple[int, str]:
    mark = error.problem_mark or error.context_mark
    parts = [part for part in (error.context, error.problem) if part]
    line = mark.line + 1 if mark is not None else 1
    if _LIBYAML_TOO_DEEP in (error.problem or ""):
        return line, _TOO_DEEP
    return line, f"this is not YAML: {', '.join(parts) or 'it cannot be read'}"


class _Open:
    """A sequence or mapping whose end has not come yet."""

    __slots__ = ("anchor", "depth", "is_mapping", "line", "nodes", "weight")

    def __init__(self, is_mapping: bool, line: int, anchor: str | None) -> None:
        self.is_mapping = is_mapping
        self.line = line
        self.anchor = anchor
        self.nodes: list[Node] = []  # of a mapping: key, value, key, value ...
        self.weight = _NODE_WEIGHT
        self.depth = 1


class _Composer:
    """Turns events into nodes."""

    def __init__(self) -> None:
        self.root: Node | None = None
        self.duplicates: list[Duplicate] = []
        self._open: list[_Open] = []
        self._anchors: dict[str, Node | None] = {}  # None: still open
        self._documents = 0
        self._nodes = 0
        self._aliases = 0

    def take(self, event: Any) -> None:
        kind = event.__class__
        if kind is yaml.ScalarEvent:
            self._count(event)
            self._place(_scalar(event), event.anchor)
        elif kind is yaml.MappingStartEvent or kind is yaml.SequenceStartEvent:
            self._start(event, kind is yaml.MappingStartEvent)
        elif kind is yaml.MappingEndEvent or kind is yaml.SequenceEndEvent:
            self._end()
        elif kind is yaml.AliasEvent:
            self._alias(event)
        elif kind is yaml.DocumentStartEvent:
            self._documents += 1
            if self._documents > 1:
                raise BadDocument(
                    _line(event), "the file holds a second document; one is allowed"
                )

    def _count(self, event: Any) -> None:
        self._nodes += 1
        if self._nodes > NODE_LIMIT:
            raise BadDocument(_line(event), f"more than {NODE_LIMIT} values")
        anchor = event.anchor
        if anchor is None:
            return
        if anchor in self._anchors:
            raise BadDocument(_line(event), f"the anchor &{anchor[:60]} is given twice")
        self._anchors[anchor] = None

    def _start(self, event: Any, is_mapping: bool) -> None:
        self._count(event)
        line = _line(event)
        if len(self._open) >= DEPTH_LIMIT:
            raise BadDocument(line, _TOO_DEEP)
        if event.tag not in (None, "!", _MAP if is_mapping else _LIST):
            raise BadDocument(line, _NO_SUCH_TAG)
        self._open.append(_Open(is_mapping, line, event.anchor))

    def _end(self) -> None:
        ended = self._open.pop()
        node: Node
        if ended.is_mapping:
            entries = self._entries(ended)
            node = Mapping(entries, ended.line, ended.weight, ended.depth)
        else:
            node = Sequence(tuple(ended.nodes), ended.line, ended.weight, ended.depth)
        self._place(node, ended.anchor)

    def _alias(self, event: Any) -> None:
        self._aliases += 1
        if self._aliases > ALIAS_LIMIT:
            raise BadDocument(_line(event), f"more than {ALIAS_LIMIT} aliases")
        name = event.anchor
        if name not in self._anchors:
            raise BadDocument(_line(event), f"the alias *{name[:60]} has no anchor")
        node = self._anchors[name]
        if node is None:
            raise BadDocument(
                _line(event), f"the alias *{name[:60]} is inside of its own anchor"
            )
        self._place(node, None)

    def _place(self, node: Node, anchor: str | None) -> None:
        if anchor is not None:
            self._anchors[anchor] = node
        if not self._open:
            self.root = node
            return
        parent = self._open[-1]
        parent.nodes.append(node)
        parent.weight += node.weight
        parent.depth = max(parent.depth, node.depth + 1)
        if parent.weight > WEIGHT_LIMIT:
            raise BadDocument(parent.line, "its aliases make the configuration too large")
        if parent.depth + len(self._open) > DEPTH_LIMIT + 1:
            raise BadDocument(
                node.line, f"more than {DEPTH_LIMIT} levels deep with its aliases"
            )

    def _entries(self, mapping: _Open) -> tuple[Entry, ...]:
        entries: dict[Value, Entry] = {}
        merged: list[Mapping] = []
        merge_line: int | None = None
        for key, value in _pairs(mapping.nodes):
            if not isinstance(key, Scalar):
                raise BadDocument(key.line, "a key must be a single word")
            if key.plain and key.text == _MERGE:
                if merge_line is not None:
                    self._note_duplicate(key, merge_line)
                merge_line = key.line
                merged.extend(_merged(value))
                continue
            earlier = entries.get(key.value)
            if earlier is not None:
                self._note_duplicate(key, earlier.key.line)
            entries[key.value] = Entry(key, value)
        for source in merged:
            for entry in source.entries:
                entries.setdefault(entry.key.value, entry)
        return tuple(entries.values())

    def _note_duplicate(self, key: Scalar, first_line: int) -> None:
        path: list[str | int] = []
        for parent in self._open:
            if parent.is_mapping:
                # Nothing yet where the mapping is itself a key, which is refused later.
                name = parent.nodes[-1] if parent.nodes else None
                path.append(name.text if isinstance(name, Scalar) else "")
            else:
                path.append(len(parent.nodes))
        self.duplicates.append(Duplicate((*path, key.text), key.line, first_line))


_MERGE = "<<"
_MAP = "tag:yaml.org,2002:map"
_LIST = "tag:yaml.org,2002:seq"
_NO_SUCH_TAG = "only the plain YAML tags (!!str, !!int and so on) are supported"


def _line(event: Any) -> int:
    line: int = event.start_mark.line
    return line + 1


def _pairs(nodes: list[Node]) -> Iterator[tuple[Node, Node]]:
    return zip(nodes[::2], nodes[1::2], strict=True)


def _merged(value: Node) -> list[Mapping]:
    sources = value.items if isinstance(value, Sequence) else (value,)
    mappings = [source for source in sources if isinstance(source, Mapping)]
    if len(mappings) != len(sources):
        raise BadDocument(value.line, "<< merges mappings; this is something else")
    return mappings


def _scalar(event: Any) -> Scalar:
    text: str = event.value
    line = _line(event)
    if "\0" in text:
        raise BadDocument(line, "a NUL character cannot be part of any value")
    plain = event.tag is None and event.implicit[0]
    try:
        if event.tag not in (None, "!"):
            value = tagged(event.tag, text)
        else:
            value = resolved(text) if plain else text
    except BadScalar as error:
        raise BadDocument(line, str(error)) from None
    return Scalar(value, text, line, _NODE_WEIGHT + len(text), plain)


__all__ = [
    "SIZE_LIMIT",
    "BadDocument",
    "Date",
    "Document",
    "Duplicate",
    "Entry",
    "Mapping",
    "Node",
    "Scalar",
    "Sequence",
    "read",
]

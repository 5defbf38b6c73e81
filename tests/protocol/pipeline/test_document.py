from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st
from twisted.trial.unittest import SynchronousTestCase

from protocol.pipeline.document import (
    ALIAS_LIMIT,
    DEPTH_LIMIT,
    NODE_LIMIT,
    SIZE_LIMIT,
    BadDocument,
    Mapping,
    Node,
    Scalar,
    Sequence,
    read,
)
from tests.laws import law


def plain(node: Node) -> object:
    """Lists, dicts and values."""
    if isinstance(node, Scalar):
        return node.value
    if isinstance(node, Sequence):
        return [plain(item) for item in node.items]
    return {entry.key.value: plain(entry.value) for entry in node.entries}


def laughs() -> str:
    """Twenty levels of nine aliases each."""
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x]"]
    for level in range(1, 20):
        aliases = ", ".join([f"*a{level - 1}"] * 9)
        lines.append(f"a{level}: &a{level} [{aliases}]")
    return "\n".join(lines)


HOSTILE = {
    "deep lists": "[" * 50_000,
    "deep mappings": "{a: " * 50_000,
    "deep keys": "[? " * 50_000,
    "deep blocks": "- " * 50_000,
    "a billion laughs": laughs(),
    "an alias in its own anchor": "a: &a [*a]",
    "an alias as its own key": "&a {*a : *a}",
    "an alias of nothing": "a: *b",
    "an anchor twice": "[&a x, &a y]",
    "merges of merges": "x: &a {"
    + ", ".join(f"k{i}: v" for i in range(5000))
    + "}\ny: &b {<<: ["
    + "*a, " * 1000
    + "]}\nz: {<<: ["
    + "*b, " * 1000
    + "]}\n",
    "a merge of text": "a: {<<: x}",
    "many values": "[" + "a," * (NODE_LIMIT + 1) + "]",
    "many aliases": "a: &a x\nb: [" + "*a, " * (ALIAS_LIMIT + 1) + "]",
    "too many bytes": "a: " + "x" * SIZE_LIMIT,
    "a huge number": "a: " + "9" * 400_000,
    "a huge number in base 60": "a: 59" + ":59" * 150_000,
    "a number with many underscores": "a: 1" + "_" * 400_000,
    "NUL": "a: b\0",
    "an escaped NUL": 'a: "b\\0"',
    "a lone surrogate": 'a: "\\ud800"',
    "an escape sequence": "a: \x1b[2J",
    "a Python object": "!!python/object/apply:os.system ['true']",
    "a Python name": "a: !!python/name:os.system x",
    "a tag of its own": "!mine {a: b}",
    "a set": "!!set {a, b}",
    "bytes": "a: !!binary aGVsbG8=",
    "a false tag": "a: !!int b",
    "an empty number": "a: !!int ''",
    "a second document": "---\na: b\n---\nc: d\n",
    "many directives": "".join(f"%TAG !a{i}! b\n" for i in range(30_000)) + "---\na: b\n",
    "directives after odd line breaks": "\x85".join(
        f"%TAG !a{i}! b" for i in range(30_000)
    ),
    "a list as a key": "? [a]\n: b",
    "a key given twice in a key": "? {a: b, a: c}\n: d",
    "an open quote": 'a: "',
    "nothing": "",
    "only a comment": "# nothing\n",
}

#: A part of the answer to each: it is the limit that stops it, not the syntax.
ANSWERS = {
    "deep lists": "levels",
    "deep mappings": "levels",
    "deep keys": "levels",
    "deep blocks": "levels",
    "a billion laughs": "aliases make",
    "an alias in its own anchor": "its own anchor",
    "an alias as its own key": "its own anchor",
    "an alias of nothing": "no anchor",
    "an anchor twice": "twice",
    "merges of merges": "aliases make",
    "a merge of text": "merges mappings",
    "many values": "values",
    "many aliases": "more than",
    "too many bytes": "KiB",
    "a huge number": "a number of",
    "a huge number in base 60": "a number of",
    "a number with many underscores": "a number of",
    "NUL": "U+0000",
    "an escaped NUL": "NUL",
    "a lone surrogate": "escape code",
    "an escape sequence": "U+001B",
    "a Python object": "tags",
    "a Python name": "tags",
    "a tag of its own": "tags",
    "a set": "tags",
    "bytes": "tags",
    "a false tag": "!!int",
    "an empty number": "!!int",
    "a second document": "second document",
    "many directives": "begin with %",
    "directives after odd line breaks": "begin with %",
    "a list as a key": "key",
    "a key given twice in a key": "single word",
    "an open quote": "quoted scalar",
    "nothing": "empty",
    "only a comment": "empty",
}


class DocumentTests(SynchronousTestCase):
    def test_hostile_text_is_refused_by_the_limit_that_is_meant_for_it(self) -> None:
        for name, text in HOSTILE.items():
            refusal = self.assertRaises(BadDocument, read, text.encode())
            self.assertIn(ANSWERS[name], str(refusal), name)
            self.assertGreaterEqual(refusal.line, 1, name)

    def test_text_that_is_no_utf_8_is_refused_with_its_line(self) -> None:
        refusal = self.assertRaises(BadDocument, read, b"a: b\nc: \xff\n")
        self.assertEqual(refusal.line, 2)
        for encoding in ("utf-16", "utf-32", "utf-16-le"):
            self.assertRaises(BadDocument, read, "a: b".encode(encoding))

    def test_a_byte_order_mark_is_no_harm(self) -> None:
        self.assertEqual(plain(read(b"\xef\xbb\xbfa: b").root), {"a": "b"})

    def test_syntax_errors_have_a_line(self) -> None:
        refusal = self.assertRaises(BadDocument, read, b"a: b\nc: [d\ne: f\n")
        self.assertEqual(refusal.line, 3)

    def test_the_deepest_document_that_is_allowed_can_be_read(self) -> None:
        nested = "[" * DEPTH_LIMIT + "a" + "]" * DEPTH_LIMIT
        self.assertEqual(str(plain(read(nested.encode()).root)).count("["), DEPTH_LIMIT)
        self.assertRaises(BadDocument, read, f"[{nested}]".encode())

    def test_aliases_count_as_deep_as_what_they_name(self) -> None:
        lines = ["a0: &a0 [x]"]
        for level in range(1, DEPTH_LIMIT + 1):
            lines.append(f"a{level}: &a{level} [*a{level - 1}]")
        self.assertRaises(BadDocument, read, "\n".join(lines).encode())

    def test_an_aliased_node_is_one_object(self) -> None:
        root = read(b"a: &x [1]\nb: *x\n").root
        assert isinstance(root, Mapping)
        first, second = root.entries
        self.assertIs(first.value, second.value)
        self.assertEqual(first.key.line, 1)
        self.assertEqual(second.key.line, 2)

    def test_merged_keys_give_way_to_own_keys_and_to_earlier_merges(self) -> None:
        text = b"a: &a {k: a, l: a}\nb: &b {k: b, m: b}\nc: {k: c, <<: [*a, *b]}\n"
        root = plain(read(text).root)
        assert isinstance(root, dict)
        self.assertEqual(root["c"], {"k": "c", "l": "a", "m": "b"})

    def test_a_quoted_merge_key_is_a_key_like_others(self) -> None:
        self.assertEqual(plain(read(b'{"<<": {a: b}}').root), {"<<": {"a": "b"}})

    def test_keys_given_twice_are_noted_with_both_lines(self) -> None:
        document = read(b"a:\n- {}\n- b: 1\n  c: 2\n  b: 3\n")
        [duplicate] = document.duplicates
        self.assertEqual(duplicate.path, ("a", 1, "b"))
        self.assertEqual((duplicate.first_line, duplicate.line), (3, 5))
        self.assertEqual(plain(document.root), {"a": [{}, {"b": 3, "c": 2}]})

    def test_two_merges_in_one_mapping_are_a_key_given_twice(self) -> None:
        document = read(b"a: &a {k: a}\nb: {<<: *a, <<: *a}\n")
        self.assertEqual([one.path for one in document.duplicates], [("b", "<<")])

    @law
    @given(
        st.binary(max_size=400)
        | st.text(st.characters(codec="utf-8"), max_size=400).map(str.encode)
    )
    def test_any_bytes_are_read_or_refused(self, text: bytes) -> None:
        try:
            read(text)
        except BadDocument:
            pass

"""Makes text that strangers wrote safe to show on a terminal.

A job's log is hostile: what it sends to a terminal could move the cursor over earlier
lines, change the window's title, or answer for the person at the keyboard. Pure.
"""

from __future__ import annotations

import codecs
import re
import unicodedata

#: Characters of one control sequence that are remembered; longer ones are no colours.
_SEQUENCE_LIMIT = 64

_RESET = "\x1b[0m"
_SGR = re.compile(r"\x1b\[[0-9;:]*m\Z")
#: What starts a string that ends with ST or BEL: DCS, SOS, OSC, PM, APC.
_STRINGS = "PX]^_"
#: Eight-bit forms of ESC and one of these.
_C1_STRINGS = "\x90\x98\x9d\x9e\x9f"
#: Change the order in which the text around them is shown.
_BIDI = frozenset(
    "\u061c\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069"
)
_PLAIN = re.compile(r"[\x20-\x7e\n\t]+")


class TerminalFilter:
    """Turns the bytes of a log into text that at most changes colours.

    Colours (SGR sequences) stay and end with their line; every other control sequence
    is left out, whole; a carriage return begins a new line. Bytes that are no UTF-8
    become U+FFFD. The input may be cut anywhere.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._sequence = ""  # begun, its end not yet seen
        self._returned = False  # a carriage return whose newline may still come
        self._coloured = False

    def feed(self, data: bytes, final: bool = False) -> str:
        """What to show for the next bytes; ``final`` says that none follow."""
        shown: list[str] = []
        text = self._decoder.decode(data, final)
        position = 0
        while position < len(text):
            plain = None if self._busy else _PLAIN.match(text, position)
            if plain is None:
                self._take(text[position], shown)
                position += 1
            else:
                shown.append(self._ended_lines(plain.group()))
                position = plain.end()
        if final and self._coloured:
            shown.append(_RESET)
            self._coloured = False
        return "".join(shown)

    @property
    def _busy(self) -> bool:
        return bool(self._sequence) or self._returned

    def _ended_lines(self, text: str) -> str:
        if self._coloured and "\n" in text:
            self._coloured = False
            return text.replace("\n", _RESET + "\n", 1)
        return text

    def _take(self, character: str, shown: list[str]) -> None:
        if self._returned:
            self._returned = False
            shown.append(self._ended_lines("\n"))
            if character == "\n":
                return
        if self._sequence:
            self._continue_sequence(character, shown)
        elif character == "\x1b" or character == "\x9b" or character in _C1_STRINGS:
            self._begin_sequence(character)
        elif character == "\r":
            self._returned = True
        elif character in "\n\t":
            shown.append(self._ended_lines(character))
        elif unicodedata.category(character) != "Cc" and character not in _BIDI:
            shown.append(character)

    def _begin_sequence(self, character: str) -> None:
        if character == "\x9b":
            self._sequence = "\x1b["
        elif character in _C1_STRINGS:
            self._sequence = "\x1b]"
        else:
            self._sequence = character

    def _continue_sequence(self, character: str, shown: list[str]) -> None:
        if character in "\n\r\x18\x1a":
            # No sequence goes over the end of a line. Else one that never ends would
            # swallow the rest of the log.
            self._sequence = ""
            if character in "\n\r":
                self._take(character, shown)
            return
        if character == "\x1b" and not self._in_string:
            self._sequence = character
            return
        if len(self._sequence) < _SEQUENCE_LIMIT:
            self._sequence += character
        elif self._in_string:
            # Only the end matters; its ESC must not be lost.
            self._sequence = self._sequence[:2] + character
        if self._sequence_ends(character):
            if _SGR.match(self._sequence):
                shown.append(self._sequence)
                self._coloured = True
            self._sequence = ""

    @property
    def _in_string(self) -> bool:
        return len(self._sequence) > 1 and self._sequence[1] in _STRINGS

    def _sequence_ends(self, character: str) -> bool:
        if self._in_string and len(self._sequence) > 2:
            return character in "\x07\x9c" or self._sequence.endswith("\x1b\\")
        if len(self._sequence) == 2:
            # ESC, and intermediate bytes until a final one; CSI and strings go on.
            return character not in "[" + _STRINGS and not " " <= character <= "/"
        if self._sequence[1] == "[":
            return "@" <= character <= "~"
        return "0" <= character <= "~"


def one_line(text: str) -> str:
    """``text`` without anything that could leave its line or its colour."""
    return "".join(
        " " if unicodedata.category(character) in ("Cc", "Zl", "Zp") else character
        for character in text
        if character not in _BIDI
    )

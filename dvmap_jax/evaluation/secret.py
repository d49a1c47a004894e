"""The key of an endpoint: the name of an environment variable in, texts without its value out."""

import base64
import html
import itertools
import json
import os
import re
import urllib.parse
from typing import Any

HIDDEN = "[key]"
PIECE = 12  # characters of a key that are hidden also where the rest was cut off
SECRET = 8  # shorter values ("EMPTY", "none") are stand-ins: they may be words of a completion
VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


class Key:
    """A value that is sent to an endpoint and never shown: not in a repr, a message or a file."""

    def __init__(self, variable: str, value: str):
        """ValueError, which does not say the value, where no header can carry it."""
        value = value.strip()
        if not re.fullmatch(r"[!-~]*", value):
            raise ValueError(
                f"the environment variable {variable} holds blanks or other characters that no "
                "key has; set it to the endpoint's key alone"
            )
        self.variable = variable
        self._value = value
        self._pieces = frozenset(piece for form in _forms(value) for piece in _windows(form))

    @classmethod
    def from_environment(cls, variable: str) -> "Key":
        """The key the variable holds; where it is not set, none is sent."""
        return cls(variable, os.environ.get(variable, ""))

    def __bool__(self) -> bool:
        return bool(self._value)

    def __repr__(self) -> str:
        return f"Key({self.variable!r}, {'set' if self else 'not set'})"

    def __reduce__(self):
        raise TypeError("a key is not written anywhere")

    def headers(self) -> dict[str, str]:
        """What authorizes a request."""
        return {"Authorization": f"Bearer {self._value}"} if self else {}

    def hide(self, text: str) -> str:
        """The text with "[key]" for the key, as it is, in the usual encodings, and for parts of it.

        Parts are those of 12 characters and more, as a cut text ends with.
        """
        found = [piece for piece in self._pieces if piece in text]
        if not found:
            return text
        pattern = "|".join(re.escape(piece) for piece in found)
        hidden = bytearray(len(text))
        for match in re.finditer(f"(?=({pattern}))", text):
            hidden[match.start() : match.end(1)] = b"\1" * len(match[1])
        runs = itertools.groupby(range(len(text)), key=lambda place: hidden[place])
        return "".join(HIDDEN if hide else "".join(text[i] for i in run) for hide, run in runs)

    def clean(self, value: Any) -> Any:
        """A JSON value whose strings show no key and can be written as UTF-8."""
        if isinstance(value, str):
            text = value.encode("utf-8", "replace").decode()  # half a surrogate pair: "?"
            return self.hide(text) if len(self._value) >= SECRET else text
        if isinstance(value, list):
            return [self.clean(item) for item in value]
        if isinstance(value, dict):
            return {self.clean(name): self.clean(item) for name, item in value.items()}
        return value


def _forms(value: str) -> set[str]:
    """The value as servers may write it; none where it is too short to be a word of its own."""
    if len(value) < 4:
        return set()
    coded = base64.b64encode(value.encode()).decode().rstrip("=")
    quoted = urllib.parse.quote(value, safe="")
    return {value, coded, quoted, json.dumps(value)[1:-1], html.escape(value)}


def _windows(form: str) -> list[str]:
    size = min(len(form), PIECE)
    return [form[start : start + size] for start in range(len(form) - size + 1)]

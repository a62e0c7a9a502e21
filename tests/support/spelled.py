"""How programs print a text: what encoders of all sorts make of it."""

from __future__ import annotations

import json
import re
import shlex
from base64 import b64encode, urlsafe_b64encode
from typing import Callable
from urllib.parse import quote, quote_plus


def lower_quote(text: str) -> str:
    return "".join(char if char.isascii() and char.isalnum() else quote(char, safe="").lower() for char in text)


def backslashed(text: str) -> str:
    """As bash's ``printf %q`` writes words without control characters."""
    return re.sub(r"([ -~])", lambda char: char[0] if re.match(r"[\w@%+=:./-]", char[0]) else f"\\{char[0]}", text)


SPELLED: dict[str, Callable[[str], str]] = {
    "plain": str,
    "URL": lambda text: quote(text, safe=""),
    "URL path": quote,
    "URL form": quote_plus,
    "URL in lower case": lower_quote,
    "part of a URL in JavaScript": lambda text: quote(text, safe="!~*'()"),
    "URL in JavaScript": lambda text: quote(text, safe=";,/?:@&=+$#!~*'()"),
    "JSON": json.dumps,
    "JSON in UTF-8": lambda text: json.dumps(text, ensure_ascii=False),
    "JSON with slashes": lambda text: json.dumps(text).replace("/", "\\/"),
    "JSON with something around": lambda text: json.dumps([{"key": f"x{text}y"}]),
    "repr": repr,
    "repr beside an apostrophe": lambda text: repr(f"it's {text}"),
    "repr beside both quotes": lambda text: repr(f'it\'s "it" {text}'),
    "ascii": ascii,
    "bytes": lambda text: repr(text.encode()),
    "bytes beside an apostrophe": lambda text: repr(f"'{text}".encode()),
    "shell": shlex.quote,
    "shell with something around": lambda text: shlex.quote(f"; {text}"),
    "shell, the other way": lambda text: "'" + text.replace("'", "'\\''") + "'",
    "shell without quotes": backslashed,
    "hex": lambda text: text.encode().hex(),
    "upper hex": lambda text: text.encode().hex().upper(),
    "hex with something around": lambda text: f"x{text}y".encode().hex(),
    "base64": lambda text: b64encode(text.encode()).decode(),
    "URL-safe base64": lambda text: urlsafe_b64encode(text.encode()).decode(),
}

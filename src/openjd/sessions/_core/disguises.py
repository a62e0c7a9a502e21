"""How a secret may be spelled by the programs that print it: encoded, escaped, quoted.

Who prints a secret in base64, in hexadecimal digits, in a URL, in JSON, or in a command line that a shell shows, has
printed the secret. A job may declare thousands, so nothing but tables is at work here.
"""

from __future__ import annotations

import json
import re
from binascii import b2a_base64, hexlify
from collections.abc import Iterator
from typing import NamedTuple

SHORTEST = 8
"""Secrets of fewer characters are looked for as they are only: what they turn into is found everywhere."""

_BASE64_WIDTHS = (64, 76)
_PLAIN = re.compile(r"[A-Za-z0-9_.~-]*")
"""Nobody quotes or escapes these."""
_LINE_END = re.compile(r"[\r\n]")
_RUN = re.compile(r"[A-Za-z0-9]+")
_NOT_ASCII = re.compile(r"[^\0-\x7f]")
_ASCII_CODE = re.compile(r"\\u[0-9a-f]{4}")
_CONTROLS = (*range(32), 127)

_Table = dict[int, str]


class Family(NamedTuple):
    """Spellings that all contain the same texts, so that they need to be looked for only where those are."""

    cores: tuple[str, ...]
    spellings: tuple[str, ...]
    is_base64: bool = False
    """Whether the digit on either side may belong to it in part."""


def families(secret: str) -> list[Family]:
    """Give all spellings of a secret that have no line ends, itself among them if it has none."""
    if len(secret) < SHORTEST:
        return [] if _LINE_END.search(secret) else [Family((secret,), (secret,))]
    data = secret.encode("utf-8", "surrogatepass")
    lower = hexlify(data).decode()
    upper = lower.upper()
    found = [Family((lower,), (lower,)), Family((upper,), (upper,))]
    for digits in _base64_cores(data):
        in_url = digits.translate(_TO_URL_SAFE)
        found.append(Family(_cores(digits), (digits, in_url), is_base64=True))
    found += [Family((line,), (line,), is_base64=True) for line in _base64_lines(data)]
    if _PLAIN.fullmatch(secret):
        found.append(Family((secret,), (secret,)))
    else:
        found += _quoted_families(secret, data)
    return found


def _cores(text: str) -> tuple[str, ...]:
    """What every spelling of the text leaves as it is, the most telling first."""
    return tuple(sorted(_RUN.findall(text), key=len, reverse=True))


def _base64_cores(data: bytes) -> Iterator[str]:
    """The digits that depend on nothing but the data, for each of its places in a group of three bytes."""
    for before in range(3):
        digits = b2a_base64(bytes(before) + data, newline=False).decode()
        yield digits[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]


def _base64_lines(data: bytes) -> Iterator[str]:
    """The lines that base64 is broken into by those who break it, as far as they are long enough to be told."""
    digits = b2a_base64(data, newline=False).decode()[: len(data) * 8 // 6]
    for width in _BASE64_WIDTHS:
        if len(digits) > width:
            lines = (digits[start : start + width] for start in range(0, len(digits), width))
            yield from (line for line in lines if len(line) >= SHORTEST)


def _quoted_families(secret: str, data: bytes) -> Iterator[Family]:
    spellings = {secret, *_quoted(secret, data)}
    if _LINE_END.search(secret):
        spellings = {spelling for spelling in spellings if not _LINE_END.search(spelling)}
    cores = _cores(secret)
    for mark in "\\%":
        marked = {spelling for spelling in spellings if mark in spelling}
        yield Family((mark, *cores), tuple(marked))
        spellings -= marked
    yield Family(cores, tuple(spellings))


def _quoted(secret: str, data: bytes) -> Iterator[str]:
    characters = data.decode("latin-1")
    for table in _IN_URLS:
        yield characters.translate(table)
    codes = set(map(ord, secret))
    for changed, table in _IN_STRINGS:
        if not codes.isdisjoint(changed):
            yield secret.translate(table)
    if not secret.isascii():
        yield from _quoted_as_ascii(secret, characters)


def _quoted_as_ascii(secret: str, characters: str) -> Iterator[str]:
    for table in _IN_JSON:
        text = _NOT_ASCII.sub(lambda char: json.dumps(char[0])[1:-1], secret.translate(table))
        yield text
        yield _ASCII_CODE.sub(lambda code: "\\u" + code[0][2:].upper(), text)
    unprintable = {ord(char): ascii(char)[1:-1] for char in secret if not char.isprintable() and not char.isascii()}
    for table in _IN_LITERALS:
        yield secret.translate({**table, **unprintable})
        for text in (secret, characters):
            yield text.translate(table).encode("ascii", "backslashreplace").decode()
    # how the output's undecodable bytes are shown (DIR-2), for a secret that has such
    yield secret.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")


# Tables


def _url_tables() -> Iterator[_Table]:
    """As Python quotes, its paths and forms, and as browsers quote parts, wholes and forms."""
    for kept, blank in (
        *(("_.~-", "%20"), ("/_.~-", "%20"), ("_.~-", "+")),
        *(("-_.!~*'()", "%20"), (";,/?:@&=+$#-_.!~*'()", "%20"), ("*_.-", "+")),
    ):
        for digits in ("%%%02X", "%%%02x"):
            codes = (code for code in range(256) if code > 127 or (not _RUN.match(chr(code)) and chr(code) not in kept))
            yield _complete({**{code: digits % code for code in codes}, ord(" "): blank})


def _complete(table: _Table) -> _Table:
    """With what it does not change of ASCII: to look for what is missing takes three times as long."""
    return {**{code: chr(code) for code in range(128)}, **table}


def _escapes(text: str) -> _Table:
    return {ord(char): "\\" + char for char in text}


_BLANKS = {ord(char): "\\" + name for char, name in zip("\b\t\n\f\r", "btnfr")}
_JSON = {**{code: f"\\u{code:04x}" for code in range(32)}, **_BLANKS, **_escapes('"\\')}
_LITERAL = {
    **{code: f"\\x{code:02x}" for code in _CONTROLS},
    **{code: _BLANKS[code] for code in map(ord, "\t\n\r")},
    **_escapes("\\"),
}
_MARKUP = {ord(char): f"\\u{ord(char):04x}" for char in "<>&'"}

_TO_URL_SAFE = str.maketrans("+/", "-_")
_IN_URLS = tuple(_url_tables())
_JSON_TABLES = tuple(
    {**_JSON, **of_some, **of_python}
    for of_some in ({}, _escapes("/"), _MARKUP)
    for of_python in ({}, {127: r"\u007f"})
)
_LITERAL_TABLES = (_LITERAL, {**_LITERAL, **_escapes("'")}, {**_LITERAL, **_escapes('"')})
_IN_JSON = tuple(map(_complete, _JSON_TABLES))
_IN_LITERALS = tuple(map(_complete, _LITERAL_TABLES))
_STRING_TABLES: tuple[_Table, ...] = (
    *_JSON_TABLES,
    *_LITERAL_TABLES,
    {ord("'"): "'\"'\"'"},
    {ord("'"): "'\\''"},
    _escapes('\\"$`'),
    _escapes('\\"$`!'),
    _escapes("!\"#$&'()*;<=>?[\\]^`{|},~ "),
    _escapes("!\"#$&'()*;<>?[\\]^`{|}~ "),
)
_IN_STRINGS = tuple((frozenset(table), _complete(table)) for table in _STRING_TABLES)
"""The characters that each changes, and the table."""

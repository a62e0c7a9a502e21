"""Secrets that are printed encoded, escaped or quoted (RED-1, RED-6): what encoders of all sorts make of them."""

from __future__ import annotations

from base64 import b64encode, encodebytes, urlsafe_b64encode

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from openjd.sessions._core.redaction import MASK, Redactor
from openjd.sessions._core.spellings import FEW
from support.spelled import SPELLED

CROWD = [f"another secret, number {number};" for number in range(FEW // 5)]
"""So many secrets that they are not searched for one by one."""


def redactor(*secrets: str) -> Redactor:
    made = Redactor()
    for secret in secrets:
        made.add(secret)
    return made


SECRETS = [
    *("swordfish", "0123456789abcdef-XYZ", "ab cd ef", "'quoted'!", "ünter~den.linden", "€€€€€€€€", "\\\\\\\\////"),
    *("p@ss w/0rd'\"\\$`%+=&<é😀>!", "a/secret\x7fwith delete"),
]


@pytest.mark.parametrize("others", [[], CROWD], ids=["few", "many"])
@pytest.mark.parametrize("quoter", SPELLED)
@pytest.mark.parametrize("secret", SECRETS)
def test_red_6_disguises_are_hidden(secret: str, quoter: str, others: list[str]) -> None:
    encode = SPELLED[quoter]
    shown = redactor(*others, secret).redact_lines(f"before {encode(secret)} after")
    assert MASK in shown
    assert without_quotes(shown.replace(MASK, "")) == without_quotes(f"before {encode('')} after")


def without_quotes(text: str) -> str:
    return text.replace("'", "").replace('"', "").replace("\\", "")


@pytest.mark.parametrize("encode", ["hex", "base64", "URL", "JSON"])
def test_short_secrets_are_hidden_as_they_are_only(encode: str) -> None:
    told = SPELLED[encode]('p@"ss/')
    assert redactor('p@"ss/').redact(told) == told


def test_red_7_a_value_of_several_lines_has_disguises_of_one() -> None:
    value = "first line\nsecond line\nthird line"
    made = redactor(value)
    for encode in ("hex", "base64", "JSON", "repr", "bytes", "URL"):
        assert without_quotes(made.redact_lines(SPELLED[encode](value))).lstrip("b") == MASK


def test_red_7_lines_between_are_hidden_in_colours() -> None:
    made = redactor("first\nbetween\nlast")
    text = "\x1b[32mfirst\x1b[0m\n\x1b[32mbetween\x1b[0m\n\x1b[1;31mlast\x1b[m\n\x1b[32mand between\x1b[0m"
    assert made.redact_lines(text) == (
        f"\x1b[32m{MASK}\x1b[0m\n{MASK}\n\x1b[1;31m{MASK}\x1b[m\n\x1b[32mand between\x1b[0m"
    )


def test_base64_that_is_broken_into_lines() -> None:
    secret = "the quick brown fox jumps over the lazy dog, " * 4
    broken = encodebytes(secret.encode()).decode()
    assert redactor(secret).redact_lines(broken) == "\n".join([MASK] * 4) + "\n"


texts = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
long_texts = st.text(st.characters(exclude_categories=["Cs"]), min_size=8, max_size=30).filter(
    lambda text: len(text.strip("\r\n")) >= 8
)


@settings(deadline=None)
@given(long_texts, st.binary(max_size=12), st.binary(max_size=12), st.booleans(), st.booleans())
def test_base64_of_what_contains_a_secret(
    secret: str, before: bytes, after: bytes, is_for_urls: bool, is_one_of_many: bool
) -> None:
    """All digits are hidden that tell anything of it, and hardly another one."""
    secret = secret.strip("\r\n")
    data = secret.encode()
    told = (urlsafe_b64encode if is_for_urls else b64encode)(before + data + after).decode()
    shown = redactor(*(CROWD if is_one_of_many else []), secret).redact(told)
    first, last = len(before) * 8 // 6, -(-(len(before) + len(data)) * 8 // 6)
    head, mask, tail = shown.partition(MASK)
    assert mask
    assert told.startswith(head)
    assert first - 1 <= len(head) <= first
    assert told.endswith(tail.replace(MASK, ""))
    assert len(tail) <= len(told) - last


lines = long_texts.filter(lambda text: not {"\n", "\r"} & set(text))


@settings(deadline=None)
@given(lines, texts, texts, st.sampled_from([name for name in SPELLED if "base64" not in name]), st.booleans())
def test_disguises_within_something_else(
    secret: str, before: str, after: str, quoter: str, is_one_of_many: bool
) -> None:
    told = SPELLED[quoter](f"{before}{secret}{after}")
    made = redactor(*(CROWD if is_one_of_many else []), secret)
    shown = made.redact_lines(told)
    assert MASK in shown
    assert secret not in shown.replace(MASK, "")
    assert len(shown.replace(MASK, "")) <= len(told) - len(secret)

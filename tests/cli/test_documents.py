"""Reading YAML and JSON: every mistake is one message that names the file and the place."""

from __future__ import annotations

from pathlib import Path

import pytest

from openjd.sessions.cli.documents import InputError, given_document, parse_document, read_document
from support.jobs import exactly


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ('{"a": [1, 2.5, "x"]}', {"a": [1, 2.5, "x"]}),
        ("a:\n- 1\n- x: 2\n", {"a": [1, {"x": 2}]}),
        ('{"a":\t"tab"}', {"a": "tab"}),
        ('{"a": "\\ud83d\\ude00"}', {"a": "\U0001f600"}),
        ("{a: flow}", {"a": "flow"}),
        ("", None),
        ("just a text", "just a text"),
    ],
)
def test_yaml_and_json_are_read(text: str, value: object) -> None:
    assert parse_document(text, "here") == value


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ('{"a": 1,\n "b" 2}', "line 2, column 6: not valid JSON: Expecting ':' delimiter."),
        ('{"a": ', "line 1, column 7: not valid JSON: Expecting value."),
        ("a: 1\n b: 2", "line 2, column 3: not valid YAML: mapping values are not allowed here."),
        ("a: 2024-13-45", "not valid YAML: month must be in 1..12."),
        ("a: !!python/object:os.system {}", "line 1, column 4: not valid YAML: could not determine a constructor for "
         "the tag 'tag:yaml.org,2002:python/object:os.system'."),
    ],
)  # fmt: skip
def test_broken_text(text: str, problem: str) -> None:
    with pytest.raises(InputError, match=exactly(f"here: {problem}")):
        parse_document(text, "here")


@pytest.mark.parametrize("opening", ["[", '{"a":', "- ", "? "])
def test_text_nested_too_deeply(opening: str) -> None:
    with pytest.raises(InputError, match=r"^here: (line [0-9]+, column [0-9]+: )?not valid (JSON|YAML): "):
        parse_document(opening * 100_000, "here")


def test_files_that_cannot_be_read(tmp_path: Path) -> None:
    binary = tmp_path / "binary.yaml"
    binary.write_bytes(b"a: \xff")
    problems = {
        tmp_path / "missing.yaml": "No such file or directory.",
        tmp_path: "Is a directory.",
        binary: "byte 3: not UTF-8 text.",
    }
    for path, problem in problems.items():
        with pytest.raises(InputError, match=exactly(f"{path}: {problem}")):
            read_document(path)


def test_a_byte_order_mark_is_no_part_of_the_text(tmp_path: Path) -> None:
    path = tmp_path / "marked.json"
    path.write_bytes(b'\xef\xbb\xbf{"a": 1}')
    assert read_document(path) == {"a": 1}


def test_given_in_place_or_as_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "in.yaml").write_text("a: 1")
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    assert given_document("a: 2", "--option") == ({"a": 2}, "--option")
    assert given_document("file://in.yaml", "--option") == ({"a": 1}, "in.yaml")
    assert given_document("file://~/in.yaml", "--option") == ({"a": 1}, str(tmp_path / "in.yaml"))

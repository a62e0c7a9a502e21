"""Path mapping rules, one at a time and many together (PM-1 to PM-14)."""

from __future__ import annotations

import pickle
from dataclasses import FrozenInstanceError
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Union

import pytest
from hypothesis import given
from hypothesis import strategies as st

from openjd.sessions._path_mapping import PathFormat, PathMapper, PathMappingRule, _join, in_host_format

SOURCE_TYPES = {PathFormat.POSIX: PurePosixPath, PathFormat.WINDOWS: PureWindowsPath, PathFormat.URI: str}


def rule(source_format: str, source: str, destination: str = "/x") -> PathMappingRule:
    return PathMappingRule(
        source_path_format=PathFormat(source_format),
        source_path=SOURCE_TYPES[PathFormat(source_format)](source),
        destination_path=PurePosixPath(destination),
    )


# Making rules


@pytest.mark.parametrize(
    ("source_format", "source", "reason"),
    [
        ("POSIX", PureWindowsPath("/a"), "must be a PurePosixPath, not PureWindowsPath('/a')."),
        ("POSIX", "/a", "must be a PurePosixPath, not '/a'."),
        ("WINDOWS", PurePosixPath("/a"), "must be a PureWindowsPath, not PurePosixPath('/a')."),
        ("URI", PurePosixPath("/a"), "must be a str, not PurePosixPath('/a')."),
    ],
)
def test_pm_2_source_has_the_type_of_its_format(
    source_format: str, source: Union[PurePosixPath, PureWindowsPath, str], reason: str
) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011  (the whole text is compared)
        PathMappingRule(
            source_path_format=PathFormat(source_format), source_path=source, destination_path=PurePosixPath("/x")
        )
    assert str(raised.value) == f"The source_path of a {source_format} rule {reason}"


@pytest.mark.parametrize("source", ["", "/a", "s3:/a", "://a", "1s://a", "s 3://a"])
def test_pm_2_uri_begins_with_a_scheme(source: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        rule("URI", source)
    assert str(raised.value) == f"The source_path of a URI rule must begin with '<scheme>://', unlike {source!r}."


def test_pm_2_other_parts_have_their_types() -> None:
    with pytest.raises(ValueError, match=r"^source_path_format must be a PathFormat, not 'POSIX'\.$"):
        PathMappingRule(
            source_path_format="POSIX",  # type: ignore[arg-type]
            source_path=PurePosixPath("/a"),
            destination_path=PurePosixPath("/x"),
        )
    with pytest.raises(ValueError, match=r"^destination_path must be a PurePath, not '/x'\.$"):
        PathMappingRule(
            source_path_format=PathFormat.POSIX,
            source_path=PurePosixPath("/a"),
            destination_path="/x",  # type: ignore[arg-type]
        )


def test_pm_2_rules_are_values() -> None:
    first, second = rule("POSIX", "/a"), rule("POSIX", "/a")
    assert first.apply(path="/a") == (True, "/x")
    assert first == second
    assert hash(first) == hash(second)
    assert first != rule("POSIX", "/b")
    assert pickle.loads(pickle.dumps(first)) == first
    with pytest.raises(FrozenInstanceError):
        first.source_path = PurePosixPath("/b")  # type: ignore[misc]


@pytest.mark.parametrize("name", ["posix", "Posix", "POSIX"])
def test_pm_3_dictionary_and_back(name: str) -> None:
    made = PathMappingRule.from_dict({"source_path_format": name, "source_path": "/a", "destination_path": "/b"})
    assert made.source_path == PurePosixPath("/a")
    assert made.destination_path == PurePath("/b")
    assert made.to_dict() == {
        "source_path_format": "POSIX",
        "source_path": "/a",
        "destination_path": str(PurePath("/b")),
    }


def test_pm_3_every_format() -> None:
    for source_format, source in (("WINDOWS", "C:\\a"), ("URI", "s3://b/a/")):
        fields = {"source_path_format": source_format, "source_path": source, "destination_path": "x"}
        assert PathMappingRule.from_dict(fields).to_dict() == fields


GOOD = {"source_path_format": "POSIX", "source_path": "/a", "destination_path": "/b"}


@pytest.mark.parametrize(
    ("fields", "reason"),
    [
        ({}, "The path mapping rule is empty."),
        ({"source_path": "/a"}, "The path mapping rule has no source_path_format, destination_path."),
        ({**GOOD, "x": "1"}, "The path mapping rule has the unknown field x."),
        ({**GOOD, "source_path": 1}, "In a path mapping rule source_path must be a string."),
        ({**GOOD, "source_path_format": "dos"}, "'DOS' is not one of the path formats POSIX, WINDOWS, URI."),
        (
            {**GOOD, "source_path_format": "uri"},
            "The source_path of a URI rule must begin with '<scheme>://', unlike '/a'.",
        ),
    ],
)
def test_pm_3_wrong_dictionaries(fields: dict[str, str], reason: str) -> None:
    with pytest.raises(ValueError) as raised:  # noqa: PT011
        PathMappingRule.from_dict(fields)
    assert str(raised.value) == reason


# Matching


@pytest.mark.parametrize(
    ("source_format", "source", "path", "mapped"),
    [
        # the examples of PM-10
        ("POSIX", "/mnt/a", "/mnt/a", "/x"),
        ("POSIX", "/mnt/a", "/mnt/a/", "/x/"),
        ("POSIX", "/mnt/a", "/mnt//a//b", "/x/b"),
        ("POSIX", "/mnt/a", "/mnt/a/../c", "/x/../c"),
        ("WINDOWS", "C:\\Proj", "c:\\proj\\B", "/x/B"),
        ("WINDOWS", "C:\\Proj", "C:/Proj/B/", "/x/B/"),
        ("URI", "s3://b/as", "S3://B/as/a//b", "/x/a//b"),
        # PM-5
        ("POSIX", "/mnt/a", "/mnt/./a/./b/.", "/x/b"),
        ("POSIX", "/mnt/a", "///mnt/a", "/x"),
        ("POSIX", "//mnt/a", "//mnt/a/b", "/x/b"),
        ("POSIX", "/mnt/a\\b", "/mnt/a\\b/c", "/x/c"),
        ("POSIX", "/", "/", "/x/"),
        ("POSIX", "/", "/a", "/x/a"),
        ("POSIX", "a", "./a/b", "/x/b"),
        # PM-6
        ("WINDOWS", "\\\\server\\share", "//SERVER/share/a", "/x/a"),
        ("WINDOWS", "C:\\", "c:/a", "/x/a"),
        ("WINDOWS", "C:\\Proj", "C:\\PROJ\\", "/x/"),
        ("WINDOWS", "C:Proj", "c:proj\\a", "/x/a"),
        ("WINDOWS", "C:\\Ä", "c:\\Ä\\a", "/x/a"),
        # PM-7 and PM-8
        ("URI", "s3://b", "s3://b", "/x"),
        ("URI", "s3://b", "s3://b/", "/x/"),
        ("URI", "s3://b/", "s3://b/a", "/x/a"),
        ("URI", "s3://b/as//", "s3://b/as", "/x"),
        ("URI", "s3://b", "s3://b/./c/../d/", "/x/./c/../d/"),
        ("URI", "file:///mnt", "file:///mnt/a", "/x/a"),
    ],
)
def test_pm_5_to_pm_10_matches(source_format: str, source: str, path: str, mapped: str) -> None:
    assert rule(source_format, source).apply(path=path) == (True, mapped)
    assert PathMapper([rule(source_format, source)]).map(path) == mapped


@pytest.mark.parametrize(
    ("source_format", "source", "path"),
    [
        ("POSIX", "/mnt/a", "/mnt/ab"),
        ("POSIX", "/mnt/a", "/mnt/A/b"),
        ("POSIX", "/mnt/a", "mnt/a"),
        ("POSIX", "/mnt/a", "//mnt/a/b"),
        ("POSIX", "/mnt/a", "/mnt/a\\b"),
        ("POSIX", "/mnt/a", "/mnt/x/../a"),
        ("POSIX", "/mnt/a", "/mnt"),
        ("POSIX", ".", "/a"),
        ("POSIX", ".", ""),
        ("WINDOWS", "C:\\Proj", "C:Proj"),
        ("WINDOWS", "C:\\Proj", "D:\\Proj"),
        ("WINDOWS", "C:\\Proj", "C:\\Project"),
        ("WINDOWS", "C:\\Ä", "C:\\ä"),
        ("URI", "s3://b/as", "s3://b/asx"),
        ("URI", "s3://b/as", "s3://b/AS"),
        ("URI", "s3://b/as", "gs://b/as"),
        ("URI", "s3://b/as", "/b/as"),
        ("URI", "s3://b", "s3://bucket"),
    ],
)
def test_pm_4_without_match_the_path_is_unchanged(source_format: str, source: str, path: str) -> None:
    assert rule(source_format, source).apply(path=path) == (False, path)
    assert PathMapper([rule(source_format, source)]).map(path) == path


@pytest.mark.parametrize(
    ("path", "mapped"), [("/a", "/"), ("/a/", "/"), ("/a/b", "/b"), ("/a/b/", "/b/"), ("/a//b", "/b")]
)
def test_pm_9_destination_may_be_the_root(path: str, mapped: str) -> None:
    assert rule("POSIX", "/a", "/").apply(path=path) == (True, mapped)


@pytest.mark.parametrize(
    ("rest", "trailing", "joined"),
    [
        ((), False, "E:\\d"),
        ((), True, "E:\\d\\"),
        (("a", "b"), False, "E:\\d\\a\\b"),
        (("a", "", "b"), True, "E:\\d\\a\\\\b\\"),
    ],
)
def test_pm_9_the_host_s_separator_joins(rest: tuple[str, ...], trailing: bool, joined: str) -> None:
    assert _join("E:\\d", rest, trailing, "\\") == joined


# Many rules


@pytest.mark.parametrize(
    ("source_format", "source", "count"),
    [
        ("POSIX", "/", 1),
        ("POSIX", "/a/b", 3),
        ("POSIX", "a/b", 2),
        ("WINDOWS", "C:\\a", 2),
        ("URI", "s3://b", 1),
        ("URI", "s3://b/a/", 2),
        ("URI", "file:///a/b", 3),
    ],
)
def test_pm_11_components_are_counted(source_format: str, source: str, count: int) -> None:
    assert rule(source_format, source)._source_path_component_count() == count


def test_pm_11_most_specific_first_and_else_in_the_given_order() -> None:
    short, first, second = rule("POSIX", "/a", "/short"), rule("POSIX", "/a/b", "/1"), rule("WINDOWS", "C:\\b\\c", "/2")
    mapper = PathMapper(iter([short, first, second]))
    assert mapper.rules == (first, second, short)
    assert mapper.map("/a/b/c") == "/1/c"
    assert mapper.map("/a/c") == "/short/c"


def test_pm_11_first_of_equal_sources_wins_in_every_format() -> None:
    assert PathMapper([rule("POSIX", "/a", "/1"), rule("POSIX", "/a", "/2")]).map("/a") == "/1"
    assert PathMapper([rule("WINDOWS", "\\a", "/1"), rule("POSIX", "/a", "/2")]).map("/a") == "/1"
    assert PathMapper([rule("POSIX", "/a", "/1"), rule("WINDOWS", "\\a", "/2")]).map("/a") == "/1"


def test_pm_11_results_are_not_mapped_again() -> None:
    assert PathMapper([rule("POSIX", "/a", "/b"), rule("POSIX", "/b", "/c")]).map("/a/x") == "/b/x"


def test_pm_13_empty_is_never_mapped() -> None:
    assert PathMapper([rule("POSIX", "."), rule("WINDOWS", ".")]).map("") == ""


@pytest.mark.parametrize(
    ("path", "windows"),
    [
        ("/other/path", "\\other\\path"),
        ("E:/other\\file", "E:\\other\\file"),
        ("a//b/", "a\\\\b\\"),
        ("", ""),
        ("s3://b/a", "s3://b/a"),
        ("Fsx+1.x-y://vol/a", "Fsx+1.x-y://vol/a"),
        ("1s://a", "1s:\\\\a"),
    ],
)
def test_pm_14_sym_8_separators_of_the_host(path: str, windows: str) -> None:
    assert in_host_format(path, "\\") == windows
    assert in_host_format(path, "/") == path


texts = st.text(alphabet="aAbäß./\\:", max_size=10)
posix_sources = texts.map(lambda text: rule("POSIX", text))
windows_sources = texts.map(lambda text: rule("WINDOWS", text))
drive_sources = texts.map(lambda text: rule("WINDOWS", f"a:\\{text}"))
uri_sources = texts.map(lambda text: rule("URI", f"a://{text}"))
rule_lists = st.lists(st.one_of(posix_sources, windows_sources, drive_sources, uri_sources), max_size=8)
paths = st.one_of(texts, texts.map("a://{}".format), texts.map("A:\\{}".format), texts.map("/{}".format))


@given(rule_lists, st.lists(paths, min_size=1, max_size=8))
def test_pm_12_mapping_equals_trying_rule_by_rule(rules: list[PathMappingRule], some_paths: list[str]) -> None:
    numbered = [
        PathMappingRule(
            source_path_format=each.source_path_format,
            source_path=each.source_path,
            destination_path=PurePosixPath(f"/to/{number}"),
        )
        for number, each in enumerate(rules)
    ]
    mapper = PathMapper(numbered)
    for path in some_paths:
        results = (each.apply(path=path) for each in mapper.rules)
        expected = next((mapped for matched, mapped in results if matched), path)
        assert mapper.map(path) == expected


@given(paths, texts)
def test_pm_5_posix_rules_agree_with_pathlib(path: str, source: str) -> None:
    """``PurePosixPath`` knows the same components; only the trailing separator is ours."""
    matched, mapped = rule("POSIX", source).apply(path=path)
    try:
        rest = PurePosixPath(path).relative_to(PurePosixPath(source)) if path else None
    except ValueError:
        rest = None
    if rest is not None and not PurePosixPath(source).root and PurePosixPath(path).root:
        rest = None
    assert matched == (rest is not None)
    if rest is not None:
        assert mapped == str(PurePosixPath("/x", rest)) + "/" * path.endswith("/")

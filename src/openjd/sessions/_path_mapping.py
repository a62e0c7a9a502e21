"""One path mapping rule and its application; many rules and their fast application.

Rules: PM-1 to PM-14. A path is compared with a rule component by component, its root being the first component,
and never by the text alone.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable
from dataclasses import dataclass
from enum import Enum
from functools import cached_property
from pathlib import PurePath, PurePosixPath, PureWindowsPath
from typing import Optional, Union

_URI = re.compile(r"([A-Za-z][A-Za-z0-9+.-]*://[^/]*)(.*)", re.DOTALL)
_ASCII_LOWER = {upper: upper + 32 for upper in range(ord("A"), ord("Z") + 1)}

_Components = tuple[str, ...]


class PathFormat(str, Enum):
    """The format of a rule's source path."""

    POSIX = "POSIX"
    WINDOWS = "WINDOWS"
    URI = "URI"


HOST_FORMAT = PathFormat.WINDOWS if os.sep == "\\" else PathFormat.POSIX


@dataclass(frozen=True, init=False)
class PathMappingRule:
    """Replaces one leading path by another; a value that never changes."""

    source_path_format: PathFormat
    source_path: Union[PurePosixPath, PureWindowsPath, str]
    destination_path: PurePath

    def __init__(
        self,
        *,
        source_path_format: PathFormat,
        source_path: Union[PurePosixPath, PureWindowsPath, str],
        destination_path: PurePath,
    ) -> None:
        """Check and keep the parts of the rule (PM-2).

        Raises:
            ValueError: If the paths are not of the types that the format demands.
        """
        _check_types(source_path_format, source_path, destination_path)
        object.__setattr__(self, "source_path_format", source_path_format)
        object.__setattr__(self, "source_path", source_path)
        object.__setattr__(self, "destination_path", destination_path)

    @staticmethod
    def from_dict(rule: dict[str, str]) -> PathMappingRule:
        """Make a rule of its three strings (PM-3).

        Raises:
            ValueError: If a key is missing, unknown or not a string, or a value not what its key demands.
        """
        _check_keys(rule)
        name = rule["source_path_format"].upper()
        if name not in PathFormat.__members__:
            raise ValueError(f"{name!r} is not one of the path formats {', '.join(PathFormat.__members__)}.")
        return PathMappingRule(
            source_path_format=PathFormat[name],
            source_path=_SOURCE_TYPES[PathFormat[name]](rule["source_path"]),
            destination_path=PurePath(rule["destination_path"]),
        )

    def to_dict(self) -> dict[str, str]:
        """Give the three strings of the rule."""
        return {
            "source_path_format": self.source_path_format.name,
            "source_path": str(self.source_path),
            "destination_path": str(self.destination_path),
        }

    def apply(self, *, path: str) -> tuple[bool, str]:
        """Map a path, if the source leads to it (PM-4 to PM-10).

        Returns:
            Whether the rule matched, and the mapped path or else the path unchanged.
        """
        if not path or self._landmark not in path.casefold():
            return False, path
        components = _split(self.source_path_format, path)
        if _comparable(self.source_path_format, components)[: len(self._source)] != self._source:
            return False, path
        return True, self._mapped(path, components)

    def _mapped(self, path: str, components: _Components) -> str:
        rest = components[len(self._source) :]
        trailing = path.endswith(_TRAILING[self.source_path_format])
        return _join(str(self.destination_path), rest, trailing, os.sep)

    def _source_path_component_count(self) -> int:
        """Sort key for "most specific source first" (PM-11)."""
        return sum(1 for component in self._source if component)

    @cached_property
    def _source(self) -> _Components:
        source = str(self.source_path)
        if self.source_path_format is PathFormat.URI:
            scheme, _, rest = source.partition("://")
            source = f"{scheme}://{rest.rstrip('/')}"  # PM-8
        return _comparable(self.source_path_format, _split(self.source_path_format, source))

    @cached_property
    def _landmark(self) -> str:
        """What every path that the rule matches contains, so that most others are found out cheaply."""
        return self._source[-1].casefold() if len(self._source) > 1 else ""


class PathMapper:
    """Applies the first rule that matches, the most specific sources first (PM-11)."""

    def __init__(self, rules: Iterable[PathMappingRule]) -> None:
        self.rules: tuple[PathMappingRule, ...] = tuple(
            sorted(rules, key=lambda rule: rule._source_path_component_count(), reverse=True)
        )
        self._tables: dict[PathFormat, dict[_Components, int]] = {}
        for rank, rule in enumerate(self.rules):
            self._tables.setdefault(rule.source_path_format, {}).setdefault(rule._source, rank)

    def map(self, path: str) -> str:
        """Give the path on this host; what no rule maps only gets the host's separators (PM-12 to PM-14)."""
        if not path:
            return path
        found = [match for source_format in self._tables if (match := self._find(source_format, path))]
        if not found:
            return in_host_format(path)
        rank, components = min(found)
        return self.rules[rank]._mapped(path, components)

    def _find(self, source_format: PathFormat, path: str) -> Optional[tuple[int, _Components]]:
        """Look the path and its parents up among the sources of one format: the nearest is the most specific."""
        components = _split(source_format, path)
        key = _comparable(source_format, components)
        table = self._tables[source_format]
        for length in range(len(key), 0, -1):
            rank = table.get(key[:length])
            if rank is not None:
                return rank, components
        return None


def in_host_format(path: str, separator: str = os.sep) -> str:
    """Write a path with the host's separators; a URI keeps its own (SYM-8)."""
    if separator == "/" or _URI.match(path):
        return path
    return path.replace("/", separator)


_SOURCE_TYPES: dict[PathFormat, Union[type[PurePosixPath], type[PureWindowsPath], type[str]]] = {
    PathFormat.POSIX: PurePosixPath,
    PathFormat.WINDOWS: PureWindowsPath,
    PathFormat.URI: str,
}
_TRAILING: dict[PathFormat, tuple[str, ...]] = {
    PathFormat.POSIX: ("/",),
    PathFormat.WINDOWS: ("/", "\\"),
    PathFormat.URI: (),  # its empty last component stands for the separator
}


def _check_types(source_format: object, source: object, destination: object) -> None:
    if not isinstance(source_format, PathFormat):
        raise ValueError(f"source_path_format must be a PathFormat, not {source_format!r}.")
    if not isinstance(source, _SOURCE_TYPES[source_format]):
        wanted = _SOURCE_TYPES[source_format].__name__
        raise ValueError(f"The source_path of a {source_format.name} rule must be a {wanted}, not {source!r}.")
    if source_format is PathFormat.URI and not _URI.match(str(source)):
        raise ValueError(f"The source_path of a URI rule must begin with '<scheme>://', unlike {source!r}.")
    if not isinstance(destination, PurePath):
        raise ValueError(f"destination_path must be a PurePath, not {destination!r}.")


def _check_keys(rule: dict[str, str]) -> None:
    wanted = ("source_path_format", "source_path", "destination_path")
    if not rule:
        raise ValueError("The path mapping rule is empty.")
    if missing := [key for key in wanted if key not in rule]:
        raise ValueError(f"The path mapping rule has no {', '.join(missing)}.")
    if unknown := [str(key) for key in rule if key not in wanted]:
        raise ValueError(f"The path mapping rule has the unknown field {', '.join(unknown)}.")
    if wrong := [key for key in wanted if not isinstance(rule[key], str)]:
        raise ValueError(f"In a path mapping rule {', '.join(wrong)} must be a string.")


def _split(source_format: PathFormat, path: str) -> _Components:
    """Split a path into its root (empty if it is relative) and its other components."""
    if source_format is PathFormat.POSIX:
        return _split_posix(path)
    if source_format is PathFormat.WINDOWS:
        windows = PureWindowsPath(path)
        return (windows.anchor, *(windows.parts[1:] if windows.anchor else windows.parts))
    uri = _URI.match(path)
    return (uri[1], *uri[2].split("/")[1:]) if uri else ("",)


def _split_posix(path: str) -> _Components:
    slashes = len(path) - len(path.lstrip("/"))
    root = "//" if slashes == 2 else "/" if slashes else ""
    return (root, *[component for component in path.split("/") if component and component != "."])


def _comparable(source_format: PathFormat, components: _Components) -> _Components:
    """Spell components so that equal ones are equal strings (PM-5 to PM-7)."""
    if source_format is PathFormat.POSIX:
        return components
    if source_format is PathFormat.WINDOWS:
        return tuple(component.translate(_ASCII_LOWER) for component in components)
    return (components[0].translate(_ASCII_LOWER), *components[1:])


def _join(destination: str, rest: _Components, trailing: bool, separator: str) -> str:
    """Join what a rule gives, in the host's format (PM-9)."""
    tail = (*rest, "") if trailing else rest
    if not tail:
        return destination
    if not destination.endswith(separator):
        return separator.join((destination, *tail))
    return destination + separator.join(tail)

"""Deleting the working directories of programs that have gone (DESIGN §11, API §16a).

Only what can be locked as ours is touched: neither a directory whose program lives, wherever its process ids are valid,
nor one that is retained, nor one that another user has marked.
"""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Optional

from openjd.sessions._errors import KeeperError, WorkspaceError
from openjd.sessions._platform import check_platform

if TYPE_CHECKING:
    from openjd.sessions._platform.directories import OwnerMark, Root

REMOVAL_LIMIT = 40.0
"""Seconds that another user has to remove what it has made."""
Rest = tuple[str, str]
"""The path of what could not be deleted, and why."""


def sweep(root: Optional[Path] = None) -> list[Path]:
    """Delete the working directories of this user whose programs are gone.

    Args:
        root: Where they lie; ``None`` for the default root.

    Returns:
        The paths of those that have been deleted; what cannot be deleted stays for the next time.

    Raises:
        WorkspaceError: The root does not exist, or others than this user and root may write to it.
    """
    return [path for path, rest in swept(root) if not rest]


def swept(root: Optional[Path] = None, *, is_trial: bool = False) -> Iterator[tuple[Path, list[Rest]]]:
    """Delete them one by one.

    Args:
        root: As for ``sweep``.
        is_trial: Tell only what would be deleted.

    Yields:
        The path of each, and what could not be deleted of it.
    """
    check_platform()
    from openjd.sessions._platform.directories import abandoned_marks, open_root

    with open_root(root) as place:
        for mark in abandoned_marks(place):
            path = Path(place.path, mark.name)
            was_there = os.path.lexists(path)
            rest = [] if is_trial else _remove(place, mark)
            if is_trial or rest:
                mark.close()
            else:
                mark.remove()
            if was_there:
                yield path, rest


def _remove(root: Root, mark: OwnerMark) -> list[Rest]:
    """Remove a mark's directory; with the help of the other user who may have files in it, if need be (USER-16)."""
    from openjd.sessions._platform.removal import remove_tree
    from openjd.sessions._runtime.loop import default_loop

    rest = remove_tree(root.path, mark.name, root.descriptor)
    if rest and mark.user is not None:
        with suppress(KeeperError):
            default_loop().platform.remove_contents(mark.user, os.path.join(root.path, mark.name), REMOVAL_LIMIT)
        rest = remove_tree(root.path, mark.name, root.descriptor)
    return rest


@cache
def sweep_default_root() -> None:
    """Once in a program's life, sweep the default root; nobody waits for it, and nothing comes of it but room."""
    sweeper = threading.Thread(target=_sweep_quietly, name="openjd.sessions sweep", daemon=True)
    with suppress(RuntimeError):  # there are too many threads
        sweeper.start()


def _sweep_quietly() -> None:
    with suppress(OSError, WorkspaceError):
        sweep()

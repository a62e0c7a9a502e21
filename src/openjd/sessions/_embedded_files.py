"""A door kept for existing clients: the kinds of scripts that embedded files belong to."""

from __future__ import annotations

from enum import Enum


class EmbeddedFilesScope(Enum):
    """Whose embedded files they are, and so how their symbols are called."""

    STEP = "step"
    """``Task.File.*``"""
    ENV = "environment"
    """``Env.File.*``"""

"""Stages for Sessions with real processes."""

from support.fixtures import begin, gate, journal, open_stage, run, stage

__all__ = ("begin", "gate", "journal", "open_stage", "run", "stage")

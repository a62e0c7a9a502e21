"""What makes bad days of Sessions: real processes, and programs that embed the library."""

from support.fixtures import begin, gate, journal, open_stage, run, stage

__all__ = ("begin", "gate", "journal", "open_stage", "run", "stage")

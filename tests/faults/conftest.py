"""What makes bad days of Sessions: real processes, and programs that embed the library."""

from support.fixtures import account, begin, gate, journal, open_stage, records, run, stage

__all__ = ("account", "begin", "gate", "journal", "open_stage", "records", "run", "stage")

"""Pure decisions: no clock, no thread, no file, no operating system."""

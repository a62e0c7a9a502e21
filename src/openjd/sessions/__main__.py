"""Run the command line with ``python -m openjd.sessions``."""

from __future__ import annotations

import sys

from openjd.sessions.cli import main

if __name__ == "__main__":
    sys.exit(main())

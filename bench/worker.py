"""One run of one workload: ``python -m bench.worker METRIC BACKEND [--quick]`` prints its values as JSON.

It then leaves at once, whatever still runs: ending that is not part of any measurement, and its parent does it.
"""

from __future__ import annotations

import argparse
import json
import os
import sys

from bench.metrics import ALL


def main() -> None:
    parser = argparse.ArgumentParser(prog="bench.worker")
    parser.add_argument("metric")
    parser.add_argument("backend")
    parser.add_argument("--quick", action="store_true")
    arguments = parser.parse_args()
    workload = next(metric for metric in ALL if metric.name == arguments.metric).workload(arguments.backend)
    if workload is None:
        parser.error("This backend has nothing to run for this metric.")
    values = workload(arguments.quick)
    print(json.dumps(values))
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()

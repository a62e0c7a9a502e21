"""What this library costs, beside the published one and beside the bare limit: ``python -m bench``.

Each metric is a workload of ``bench.metrics`` that runs unchanged against both libraries, through the interface that
they have in common, and once more without any library: spawn, pipe and wait, bare files, a dictionary. Within a round
each of the three runs once, in a fresh interpreter; what counts are the ratios within rounds, and their medians.

Linux only: processor time, threads and memory are read from ``/proc``, those of helper processes included.
"""

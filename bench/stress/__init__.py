"""A stress harness: visitors of every kind, some of whom leave, odd origins, and disturbances, on a local edge.

`python -m bench.stress` runs it for minutes and prints a report; tests/stress runs some seconds of it.
"""

"""Benchmarks: what a connector adds to a request, in time, CPU and memory (docs/performance.md)."""

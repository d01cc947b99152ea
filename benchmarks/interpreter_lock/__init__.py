"""Benchmark: cost of Python's lock to two threads."""

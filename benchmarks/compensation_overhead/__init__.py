"""Benchmark: cost of each compensation in time."""

"""Benchmark: `in_flight="auto"` and every fixed window."""

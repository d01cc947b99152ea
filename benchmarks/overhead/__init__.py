"""Benchmark: cost of one gate beyond the bare computation, in microseconds and in calls."""

"""Benchmark: a hop on Ray and the bare call."""

"""Benchmark: throughput and staleness, simulated and real."""

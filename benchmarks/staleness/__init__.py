"""Benchmark: cost of staleness, and what compensations regain; published experiments with chosen delays."""

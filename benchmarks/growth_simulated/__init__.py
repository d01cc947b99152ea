"""Benchmark: cost as a network grows, simulated, beside GPipe and 1F1B."""

"""Benchmark: cost as a network grows, on threads."""

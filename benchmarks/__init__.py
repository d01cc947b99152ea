"""Benchmarks of akkordeon, one folder per claim; run one with `python -m benchmarks.<claim>`."""

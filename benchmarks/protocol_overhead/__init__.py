"""Benchmark: cost of the protocol where no gate fails."""

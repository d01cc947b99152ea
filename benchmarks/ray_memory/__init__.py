"""Benchmark: memory on Ray over 10,000 batches."""

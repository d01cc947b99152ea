"""Benchmark: throughput and memory on one GPU."""

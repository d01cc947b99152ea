"""Benchmark: throughput on a quiet machine."""

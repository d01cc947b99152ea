"""Benchmark: throughput under uneven conditions."""

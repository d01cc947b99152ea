"""Benchmark: cost of the core: throughput, hops, busy workers and memory."""

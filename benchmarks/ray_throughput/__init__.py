"""Benchmark: throughput on Ray and on threads."""

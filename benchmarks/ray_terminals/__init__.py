"""Benchmark: a network and sentinels in terminals of one machine."""

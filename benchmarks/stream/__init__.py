"""Benchmark: cost of the stream of events, with all sinks on, in throughput and per batch and gate."""

"""Benchmark: how fast the page of a run opens, follows and scrubs, and what it costs in memory."""

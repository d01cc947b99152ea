"""Benchmark: loss of the small GPT, trained synchronously and asynchronously."""

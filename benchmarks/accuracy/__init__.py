"""Benchmark: time until a model is accurate, akkordeon and plain PyTorch."""

"""Benchmark: recovery of gates, and MNIST with a hundred crashes."""

"""Recipes that the command line runs by name: gates, batches, loss and metrics in one module each; open `mnist`."""

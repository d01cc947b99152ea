"""Recipes that the command line runs by name: gates, batches, loss and metrics in one module each.

Open `mnist` first, the network of the first akkordeon. A file of the user with the same names is a recipe, too.
"""

"""Runs `python -m benchmarks.ray_terminals`."""

from benchmarks.ray_terminals.run import main

if __name__ == "__main__":
    main()

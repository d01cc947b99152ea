"""Runs `python -m benchmarks.staleness`."""

from benchmarks.staleness.run import main

if __name__ == "__main__":
    main()

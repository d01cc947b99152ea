"""Runs `python -m benchmarks.compensation_overhead`."""

from benchmarks.compensation_overhead.run import main

if __name__ == "__main__":
    main()

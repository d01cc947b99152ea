"""Runs `python -m benchmarks.overhead`."""

from benchmarks.overhead.run import main

if __name__ == "__main__":
    main()

"""Runs `python -m benchmarks.core`."""

from benchmarks.core.run import main

if __name__ == "__main__":
    main()

"""Runs `python -m benchmarks.uneven`."""

from benchmarks.uneven.run import main

if __name__ == "__main__":
    main()

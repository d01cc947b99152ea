"""Runs `python -m benchmarks.stream`."""

from benchmarks.stream.run import main

if __name__ == "__main__":
    main()

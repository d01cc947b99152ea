"""Runs `python -m benchmarks.protocol_overhead`."""

from benchmarks.protocol_overhead.run import main

if __name__ == "__main__":
    main()

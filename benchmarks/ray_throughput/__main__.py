"""Runs `python -m benchmarks.ray_throughput`."""

from benchmarks.ray_throughput.run import main

if __name__ == "__main__":
    main()

"""Runs `python -m benchmarks.ray_memory`."""

from benchmarks.ray_memory.run import main

if __name__ == "__main__":
    main()

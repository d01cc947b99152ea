"""Runs `python -m benchmarks.ray_hop`."""

from benchmarks.ray_hop.run import main

if __name__ == "__main__":
    main()

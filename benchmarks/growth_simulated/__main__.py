"""Runs `python -m benchmarks.growth_simulated`."""

from benchmarks.growth_simulated.run import main

if __name__ == "__main__":
    main()

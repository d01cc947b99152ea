"""Runs `python -m benchmarks.page`."""

from benchmarks.page.run import main

if __name__ == "__main__":
    main()

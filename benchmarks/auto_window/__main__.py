"""Runs `python -m benchmarks.auto_window`."""

from benchmarks.auto_window.run import main

if __name__ == "__main__":
    main()

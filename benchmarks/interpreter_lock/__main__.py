"""Runs `python -m benchmarks.interpreter_lock`."""

from benchmarks.interpreter_lock.run import main

if __name__ == "__main__":
    main()

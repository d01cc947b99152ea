"""Runs `python -m benchmarks.char_gpt`."""

from benchmarks.char_gpt.run import main

if __name__ == "__main__":
    main()

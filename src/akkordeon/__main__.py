"""`python -m akkordeon`, for where the command is not on the path."""

from akkordeon.cli import main

if __name__ == "__main__":
    main()

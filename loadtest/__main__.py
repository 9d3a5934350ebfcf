"""The command line: `python -m loadtest --help`."""

from loadtest.commands import main

if __name__ == "__main__":
    main()

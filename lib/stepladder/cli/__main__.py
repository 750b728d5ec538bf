"""`python -m stepladder.cli` is the `stepladder` command."""

from stepladder.cli.main import main

if __name__ == "__main__":
    main()

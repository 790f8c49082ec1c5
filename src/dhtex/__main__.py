"""`python -m dhtex` is the `dhtex` command."""

from dhtex.cli import main

if __name__ == "__main__":
    main()

"""`python -m miles`: see miles/cli.py."""

from miles.cli import main

if __name__ == "__main__":
    main()

"""`python -m miles`: see miles/cli/."""

from miles.cli import main

if __name__ == "__main__":
    main()

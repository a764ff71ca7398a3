"""`python -m fauxface`: the command line, where its script isn't on the path."""

from fauxface.cli import main

if __name__ == "__main__":
    main()

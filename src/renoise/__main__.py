"""`python -m renoise` is the command `renoise`."""

from renoise.cli import main

if __name__ == "__main__":
    main()

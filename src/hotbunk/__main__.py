"""``python -m hotbunk`` is the command ``hotbunk``."""

from hotbunk.cli import main

if __name__ == "__main__":
    main()

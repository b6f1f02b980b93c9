"""The command ``hotbunk``, which is ``python -m hotbunk`` too."""

import sys

from hotbunk.errors import INTERRUPTED

__all__ = ["main"]


def main() -> None:
    """Run the command line; who breaks it off while it is still being read in gets a sentence as well."""
    try:
        from hotbunk.cli import main as run
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(INTERRUPTED)
    run()


if __name__ == "__main__":
    main()

"""``python -m hierreport``: the same as the console script, found without activating an environment."""

import sys

from .cli import main

if __name__ == "__main__":
    sys.exit(main())

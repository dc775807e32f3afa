"""``python -m hierreport``: the same as the console script, found without activating an environment."""

import os
import sys

from .cli import main

if __name__ == "__main__":
    code = main()
    if sys.argv[1:2] == ["stage"]:
        # The rules start a process for every stage. What Python would take down piece by piece, a tenth of a second
        # where statsmodels was loaded, ends with the process.
        from .source import remove_spilled

        sys.stdout.flush()
        sys.stderr.flush()
        remove_spilled()
        os._exit(code)
    sys.exit(code)

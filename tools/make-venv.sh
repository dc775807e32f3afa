#!/bin/sh
# Create .venv where there is none and install a hash-locked requirements file and this checkout into it.
# Usage: tools/make-venv.sh LOCKFILE          (run from the checkout's root; PYTHON=… chooses the interpreter)
set -eu
lock=$1

usable() { # at least 3.11, with venv and ensurepip (which Debian packages separately)
    "$1" -c 'import sys; sys.exit(sys.version_info < (3, 11))' >/dev/null 2>&1 &&
        "$1" -c 'import venv, ensurepip' >/dev/null 2>&1
}

if [ ! -x .venv/bin/python ] || ! .venv/bin/python -m pip --version >/dev/null 2>&1; then
    found=
    for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python; do
        if usable "$candidate"; then found=$candidate && break; fi
        if [ "$candidate" = "${PYTHON:-}" ]; then break; fi # asked for by name: do not take another silently
    done
    if [ -z "$found" ]; then
        {
            echo "hierreport needs Python 3.11 or newer, with its venv module; none was found."
            for candidate in ${PYTHON:+"$PYTHON"} python3 python; do
                version=$("$candidate" -V 2>/dev/null) && echo "  $candidate is $version"
            done
            echo "Install one (Debian, Ubuntu: apt install python3 python3-venv; macOS: brew install python),"
            echo "or name it: make report PYTHON=/path/to/python3.12"
        } >&2
        exit 2
    fi
    echo "Creating .venv with $("$found" -V) …"
    "$found" -m venv --clear .venv
fi

echo "Installing $(grep -c '==' "$lock") packages from $lock into .venv, each checked against its hash …"
.venv/bin/python -m pip install -qq --disable-pip-version-check --require-hashes -r "$lock"
# The checkout itself, in place: no download, and edits take effect at once.
.venv/bin/python -m pip install -qq --disable-pip-version-check --no-deps --no-build-isolation --no-index -e .
.venv/bin/python -m compileall -q hierreport

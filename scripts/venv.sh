#!/usr/bin/env bash
# Print the folder of the environment to use: .venv, or one beside it where PYTHON names another Python than that of .venv.
set -euo pipefail
cd "$(dirname "$0")/.."
version_of() { "$1" -c 'import sys; print(".".join(map(str, sys.version_info[:3])))' 2>/dev/null; }
venv=.venv
if [ -n "${PYTHON:-}" ] && [ -x .venv/bin/python ] && asked=$(version_of "$PYTHON") &&
    [ "$asked" != "$(version_of .venv/bin/python)" ]; then
    venv=.venv-$asked
fi
echo "$venv"

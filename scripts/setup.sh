#!/usr/bin/env bash
# Make .venv with moola in it, once: again only when pyproject.toml or constraints.txt change.
# Usage: scripts/setup.sh [dev]
set -euo pipefail
cd "$(dirname "$0")/.."
extra=${1:-}
stamp=".venv/.moola-${extra:-base}"
key=$(cat pyproject.toml constraints.txt | sha256sum | cut -d' ' -f1)
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$key" ]; then
    exit 0
fi
# What development needs includes what a run needs.
if [ -z "$extra" ] && [ -f .venv/.moola-dev ] && [ "$(cat .venv/.moola-dev)" = "$key" ]; then
    exit 0
fi
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    echo "Set-up needs Python 3.11 or newer, but '$python' is not. Install it, or name another with PYTHON=..." >&2
    exit 1
fi
if [ ! -x .venv/bin/pip ]; then
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian splits venv off; as root it can be had at once.
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            apt-get update -qq && apt-get install -y -qq python3-venv
        else
            echo "Set-up needs Python's venv module. Install it: apt-get install python3-venv" >&2
            exit 1
        fi
    fi
    rm -rf .venv
    "$python" -m venv .venv
fi
echo "Setting up .venv (once: some minutes, some 3 GB) ..."
.venv/bin/pip install --quiet --disable-pip-version-check -c constraints.txt -e ".${extra:+[$extra]}"
echo "$key" >"$stamp"
echo "Ready. Next: . .venv/bin/activate"

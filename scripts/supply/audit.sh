#!/usr/bin/env bash
# Ask PyPI's record of known vulnerabilities about every pinned version, with pip-audit in an environment of its own.
# Usage: scripts/supply/audit.sh   ends in 1 on a vulnerability, and where a version could not be looked up.
set -euo pipefail
cd "$(dirname "$0")/../.."
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

unreached() {
    tail -n 5 "$folder/said" >&2
    echo "The audit must look up every version in PyPI's record of vulnerabilities, but it could not: $1." \
        "Nothing was judged. Run it where pypi.org can be reached." >&2
    exit 1
}

# Vulnerabilities are recorded by plain versions: torch's CPU build is 2.x.y+cpu, which is not known there.
sed -n 's/^\([A-Za-z0-9_.-]*==[^ +]*\).*/\1/p' requirements-locked.txt constraints.txt | sort -fu >"$folder/versions"
n_versions=$(wc -l <"$folder/versions")
"${PYTHON:-python3}" -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet --disable-pip-version-check \
    "pip-audit==$(cat scripts/supply/pip-audit.version)" 2>"$folder/said" || unreached "pip-audit could not be installed"
if "$folder/venv/bin/pip-audit" --strict --disable-pip --no-deps --progress-spinner off \
    --requirement "$folder/versions" >"$folder/found" 2>"$folder/said"; then
    echo "$n_versions versions, none with a known vulnerability."
elif [ -s "$folder/found" ]; then
    # pip-audit ends in 1 for either; a table is there only where it has judged.
    cat "$folder/found"
    echo "$n_versions versions must have no known vulnerability, but these have. Raise them in constraints.txt, run" \
        "scripts/supply/lock.py and the tests." >&2
    exit 1
else
    unreached "pip-audit judged nothing"
fi

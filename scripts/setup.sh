#!/usr/bin/env bash
# Make an environment with moola in it, once: again only when what is installed changes. Every package is one whose
# SHA-256 is in scripts/supply/locks.
# Usage: scripts/setup.sh [dev]   PYTHON names the interpreter (default python3); scripts/venv.sh says the folder.
set -euo pipefail
cd "$(dirname "$0")/.."
extra=${1:-}
locks=scripts/supply/locks
lock=$locks/${extra:-base}.txt
venv=$(scripts/venv.sh)
stamp="$venv/.moola-${extra:-base}"
key=$(cat pyproject.toml constraints.txt "$locks"/*.txt | sha256sum | cut -d' ' -f1)
python=${PYTHON:-python3}
if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    # An environment that is there works whatever `python3` is; an interpreter that was asked for must be one.
    if [ -n "${PYTHON:-}" ] || [ ! -x "$venv/bin/python" ]; then
        echo "Set-up needs Python 3.11 or newer, but '$python' is not. Install it, or name another with PYTHON=..." >&2
        exit 1
    fi
fi
if [ -f "$stamp" ] && [ "$(cat "$stamp")" = "$key" ]; then
    exit 0
fi
# What development needs includes what a run needs.
if [ -z "$extra" ] && [ -f "$venv/.moola-dev" ] && [ "$(cat "$venv/.moola-dev")" = "$key" ]; then
    exit 0
fi
if [ ! -x "$venv/bin/pip" ]; then
    if ! "$python" -c 'import ensurepip, venv' 2>/dev/null; then
        # Debian splits venv off; as root it can be had at once.
        if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
            apt-get update -qq && apt-get install -y -qq python3-venv
        else
            echo "Set-up needs Python's venv module. Install it: apt-get install python3-venv" >&2
            exit 1
        fi
    fi
    rm -rf "$venv"
    "$python" -m venv "$venv"
fi
said="$venv/setup.log"

# Say in one sentence why pip installed nothing.
fail() {
    local lacking
    lacking=$(grep -m1 -o 'No matching distribution found for [^ ]*' "$said" | sed 's/.* for //') || true
    if grep -q 'DO NOT MATCH THE HASHES' "$said"; then
        echo "Set-up takes only packages whose SHA-256 is in $1, but the index gave another file ($said). Find out why" \
            "before anything is installed." >&2
    elif grep -qE 'Retrying \(|ConnectionError|from versions: none' "$said"; then
        echo "Set-up must get the packages of $1 from a package index, but pip reached none that has" \
            "${lacking:-them} ($said). Check the network, or name an index: pip config set global.index-url <URL>." >&2
    else
        echo "Set-up must install $1, but pip ended with: $(grep -m1 '^ERROR' "$said" || tail -n 1 "$said") ($said)." >&2
    fi
    exit 1
}
installed() { PIP_RETRIES=${PIP_RETRIES:-2} "$venv/bin/pip" install --quiet --disable-pip-version-check "$@" >"$said" 2>&1; }
install() {
    local of=$1
    shift
    installed "$@" || fail "$of"
}
# What is locked is named in full, so that nothing but it is looked up.
by_hash=(--no-deps --only-binary :all: --require-hashes -r)
locked() { install "$1" "${by_hash[@]}" "$1"; }

# Install torch's CPU build where an index has it, and else the build for CUDA. pip must be asked for the first by name:
# of two builds of a version it prefers the one whose hash its index states, and a folder of wheels states none.
locked_torch() {
    installed "${by_hash[@]}" "$locks/cpu.txt" && return
    if ! grep -qE 'No matching distribution found for torch|ResolutionImpossible' "$said" ||
        grep -q 'from versions: none' "$said"; then
        fail "$locks/cpu.txt"
    fi
    echo "No index has torch's CPU build for this Python, so its build for CUDA is installed: some 4 GB more. Without a GPU, remove" \
        "$venv and name the index of the CPU build: pip config set global.extra-index-url https://download.pytorch.org/whl/cpu"
    locked "$locks/cuda.txt"
}

echo "Setting up $venv (once: some minutes, some $([ -n "$extra" ] && echo 3 || echo 1.5) GB) ..."
if "$venv/bin/python" -c 'import platform, sys
locked = sys.platform == "linux" and (3, 11, 5) <= sys.version_info < (3, 14)
sys.exit(not (locked and platform.machine() in ("x86_64", "aarch64")))'; then
    locked_torch
    locked "$lock"
    install moola --no-deps --no-build-isolation --no-index -e .
else
    echo "This system has no lock (Linux on x86-64 or aarch64 with Python 3.11.5 to 3.13 has): versions are those of constraints.txt, without hashes."
    install constraints.txt -c constraints.txt -e ".${extra:+[$extra]}"
fi
echo "$key" >"$stamp"
echo "Ready. Next: . $venv/bin/activate"

#!/usr/bin/env bash
# Make sure that there is a Chromium for the tests of the labelling page: Debian's, installed as root where it is missing.
set -euo pipefail
if command -v chromium >/dev/null || command -v chromium-browser >/dev/null || command -v google-chrome >/dev/null; then
    exit 0
fi
if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    echo "Installing chromium (once) ..."
    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends chromium >/dev/null
    command -v chromium >/dev/null && exit 0
fi
echo "Tests of the labelling page must have Chromium, but there is none. Install it: apt-get install chromium" >&2
exit 1

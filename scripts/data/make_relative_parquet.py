#!/usr/bin/env python3
"""Turn 4-D windows into relative windows: the same as `moola convert`."""

import sys

from moola.cli import main

if __name__ == "__main__":
    main(["convert", *sys.argv[1:]])

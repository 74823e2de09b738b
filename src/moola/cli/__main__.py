"""`python3 -m moola.cli` is the same program as `moola`."""

from moola.cli.app import main

main()

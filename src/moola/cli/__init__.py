"""The command line: parse, call, print, exit code."""

from moola.cli.app import main

__all__ = ["main"]

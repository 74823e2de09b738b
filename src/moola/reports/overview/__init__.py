"""The overview page of a scan: candles with events, zoom, a table with filters; one file, no network."""

from moola.reports.overview.page import write_overview

__all__ = ["write_overview"]

"""moola finds a trader's own chart patterns from few labels."""

__version__ = "0.1.0"

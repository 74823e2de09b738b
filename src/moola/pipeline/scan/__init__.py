"""Scanning bars: windows read, proposals counted, merged into events, told live, drawn."""

"""The only place that reads and writes tables: each file format with the rules it must obey."""

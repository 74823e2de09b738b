"""The overview page of a scan: one file, no network."""

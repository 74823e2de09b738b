"""Benchmarks: any train and test file, any models, several draws and seeds, one table."""

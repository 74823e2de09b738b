"""Labels out of the store, into it, and about it."""

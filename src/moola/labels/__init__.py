"""Labels of people: into the store, out of it, compared."""

"""What may not leak, and the checks that look for it."""

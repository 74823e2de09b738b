"""Controls: what could make figures look better than they are, looked for row by row."""

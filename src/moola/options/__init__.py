"""Options of every command, each declared once with its range, and where their values come from."""

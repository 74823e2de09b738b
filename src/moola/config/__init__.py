"""Options of every command as frozen dataclasses, and where their values come from."""

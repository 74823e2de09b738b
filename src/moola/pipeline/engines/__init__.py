"""Where work is done: processes of this machine, teams that train together, a Ray cluster."""

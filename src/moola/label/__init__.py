"""The labelling page: windows from bars, what to label next, a server on loopback and its static files."""

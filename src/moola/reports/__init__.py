"""Pages and pictures of runs: one summary, drawn as text, PNG and HTML."""

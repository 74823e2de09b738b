"""Files of bars as other programs write them: bytes to columns of text, text to numbers and times."""

"""Tables of many runs: what is to be compared, what of it is done, and the table as text."""

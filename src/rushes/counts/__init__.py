"""The counts of a run, and who can look at them from outside."""

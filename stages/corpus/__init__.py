"""`prepare`: any corpus → `data/features/`, the one form that the later stages read."""

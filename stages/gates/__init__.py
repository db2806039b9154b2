"""`gates`: what the gates of fusions that have one let through, by class, as a table and figures."""

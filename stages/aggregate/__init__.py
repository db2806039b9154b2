"""`aggregate`: all runs' predictions → one row of scores a run, and the paper's two tables."""

"""`attention`: which positions attend to which, and how much attention falls on padding, from the runs' weights."""

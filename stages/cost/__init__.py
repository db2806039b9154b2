"""`cost`: scores beside parameters, epochs and seconds a run, as a table and a figure."""

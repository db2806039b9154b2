"""`tuning`: the expected best score of 1 … n draws of each tuned variant, and what was chosen."""

"""`confusion`: predictions → the paper's Figure 3 for every self/cross pair, and recalls by class."""

"""`ttest`: runs' scores → the paper's t-tests between models."""

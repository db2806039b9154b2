"""`ttest`: runs' scores and predictions → which of two models is better, whether they are equivalent, and figures."""

"""`headline`: one variant's scores and plots, for `dvc metrics diff` and `dvc plots diff` between experiments."""

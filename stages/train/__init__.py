"""`train`: features and folds → one variant's and seed's predictions, fold by fold, and its training curves."""

import os

# Each worker is one thread (and CUDA's products repeat their bytes); libraries read this when they are first imported.
os.environ["OPENBLAS_NUM_THREADS"] = "1"
os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")

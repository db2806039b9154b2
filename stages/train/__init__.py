"""`train`: features and folds → one variant's and seed's predictions, fold by fold, and its training curves."""

import os

ENVIRONMENT = {"OPENBLAS_NUM_THREADS": "1", "CUBLAS_WORKSPACE_CONFIG": ":4096:8"}
"""Each worker is one thread, and CUDA's products repeat their bytes. Libraries read this when first imported."""

os.environ.update(ENVIRONMENT)

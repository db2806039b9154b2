"""Programs that measure; the copies of the project that they and the tests make share its compiled loops."""

import os
from pathlib import Path

os.environ.setdefault("OPENBLAS_NUM_THREADS", "1")  # more threads wait for each other on small products
os.environ.setdefault("NUMBA_CACHE_DIR", str(Path(__file__).parents[1] / ".work"))

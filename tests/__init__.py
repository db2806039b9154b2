"""Tests run side by side, a process a core: libraries that compute in threads of their own take one."""

import os

os.environ.setdefault("OMP_NUM_THREADS", "1")

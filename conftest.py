"""When pytest runs in parallel, its workers and the notebooks' kernels share the cores.

Two PyTorch processes that each take all cores wait for each other in turns, and become several times slower.
"""

import os

if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))

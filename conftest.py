"""When pytest runs in parallel, its workers and the notebooks' kernels share the machine."""

import os
import time

# Two PyTorch processes that each take all cores wait for each other in turns, and become several times slower.
if workers := os.environ.get("PYTEST_XDIST_WORKER_COUNT"):
    os.environ.setdefault("OMP_NUM_THREADS", str(max(1, (os.cpu_count() or 1) // int(workers))))
    # Two kernels that start in the same moment may be given one TCP port, and one dies: so workers begin apart.
    time.sleep(5 * int(os.environ["PYTEST_XDIST_WORKER"].removeprefix("gw")))

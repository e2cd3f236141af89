import os

# As in ClusterWorker: numba's own pool, not one more OpenMP runtime beside torch's.
os.environ.setdefault("NUMBA_THREADING_LAYER", "workqueue")

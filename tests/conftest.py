"""What holds for all tests."""

import gc
import os

# The networks are tiny, and two processes share the suite: with a thread a core in each, most of
# the time would go into waiting at barriers. Set before torch, numpy or a subprocess starts.
os.environ.setdefault("OMP_NUM_THREADS", "1")

# TVM would keep this process, and all that it starts, on some processors.
os.environ.setdefault("TVM_BIND_THREADS", "0")

# Tests measure at the same time, on boards that are folders of this machine.
os.environ["MOSDEPLOY_MACHINE_LOCK"] = ""

import hypothesis

from mosdeploy.devices import measure  # after the variables: it may load what reads them

# No test asserts on time: a busy machine takes long for an example.
hypothesis.settings.register_profile("mosdeploy", deadline=None)
hypothesis.settings.load_profile("mosdeploy")

# What tests measure takes a moment, on a device whose looks cost nothing.
measure.MIN_POLL_S = 0.02
measure.MAX_POLL_S = 0.1


def pytest_collection_finish() -> None:
    """What all tests import is no garbage: a full collection need not look through it each time,
    which took 5 to 9% of their time.
    """
    gc.collect()
    gc.freeze()

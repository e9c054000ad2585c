"""Weights on one and on two threads are the same to the byte, not to the digit."""

import subprocess
import sys
import threading

import pytest
from threadpoolctl import threadpool_info, threadpool_limits

from rpe_core.one_thread import one_thread

CODE = """
import hashlib
import numpy as np
from rpe_core.weighting.calibration import calibrate_library
from rpe_core.weighting.solvers.linear import linear_weights
from rpe_core.weighting.solvers.linear_l1 import lasso_weights, linear_l1_path, linear_l1_weights
rng = np.random.default_rng(0)
target, references = 2 * rng.normal(size=700), rng.normal(size=(300, 700))
path = linear_l1_path(target, references)
library = calibrate_library(references, [str(i) for i in range(300)])
found = [path.lambda2, path.weights, path.at(0.01).weights, library.nearest,
    linear_weights(target, references).weights,
    linear_l1_weights(target, references, lambda2=0.01).weights,
    lasso_weights(target, references, lambda2=0.01).weights]
digest = hashlib.sha256()
for array in found:
    digest.update(np.ascontiguousarray(array).tobytes())
print(digest.hexdigest())
"""


def _threads():
    return max(pool["num_threads"] for pool in threadpool_info() if pool["user_api"] == "blas")


def test_weights_are_the_same_bytes_on_one_thread_and_on_two():
    found = {
        subprocess.run(
            [sys.executable, "-c", CODE],
            capture_output=True,
            text=True,
            check=True,
            env={"OPENBLAS_NUM_THREADS": str(n), "PATH": ""},
        ).stdout
        for n in (1, 2)
    }
    assert len(found) == 1


def test_stretches_nest_and_overlap_and_leave_the_limit_as_it_was():
    entered, leave = threading.Event(), threading.Event()

    def hold():
        with one_thread():
            entered.set()
            leave.wait(10)

    with threadpool_limits(2, user_api="blas"):
        other = threading.Thread(target=hold)
        with one_thread():
            other.start()
            assert entered.wait(10)
            with one_thread():
                assert _threads() == 1
        assert _threads() == 1  # the other stretch still runs
        leave.set()
        other.join()
        assert _threads() == 2
        with pytest.raises(ZeroDivisionError), one_thread():
            raise ZeroDivisionError
        assert _threads() == 2

"""Threads of normalization layers: the same bits for any number of them, at once, and in a child after fork."""

import os
import threading

import numpy as np
import pytest
from support import children
from support.norms import Layer, run, values_for

import streamnorm.nn.functional as F

# More values than any threshold for the use of threads.
LAYERS = [
    Layer("batch_norm", (32, 24, 28, 28)),
    Layer("batch_norm", (32, 24, 28, 28), own=False),
    Layer("batch_norm", (32, 28, 28, 24), channel_axis=3),
    Layer("batch_norm", (40009, 17)),
    Layer("batch_norm", (3, 200003)),
    Layer("batch_norm", (2, 3, 100003)),
    Layer("instance_norm", (32, 24, 28, 28)),
    Layer("instance_norm", (32, 28, 28, 24), channel_axis=3),
    Layer("instance_norm", (2, 3, 100003)),
    Layer("group_norm", (32, 24, 28, 28), groups=4),
    Layer("group_norm", (32, 28, 28, 24), groups=4, channel_axis=3),
    Layer("layer_norm", (2003, 311)),
    Layer("layer_norm", (3, 200003)),
    Layer("layer_norm", (200003, 3)),
    Layer("rms_norm", (2003, 311)),
    Layer("rms_norm", (3, 200003)),
    Layer("rms_norm", (200003, 3)),
]


def bits(results):
    return {name: array.tobytes() for name, array in results.items()}


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
@pytest.mark.parametrize("layer", LAYERS, ids=str)
def test_any_number_of_threads_gives_the_same_bits(layer, dtype):
    v = values_for(layer, dtype, offset=2.0)
    right = bits(run(F, layer, v, threads=1))
    for threads in (2, 3, 8, None):
        assert bits(run(F, layer, v, threads=threads)) == right, threads


@pytest.mark.parametrize("layer", LAYERS[::4], ids=str)
def test_calls_at_once(layer):
    values = [values_for(layer, np.float32, seed=seed) for seed in range(2)]
    right = [bits(run(F, layer, v, threads=1)) for v in values]
    found = [[] for _ in values]
    start = threading.Barrier(len(values))

    def work(i):
        start.wait()
        for threads in (None, 2, 3):
            found[i].append(bits(run(F, layer, values[i], threads=threads)))

    workers = [threading.Thread(target=work, args=[i]) for i in range(len(values))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [[one] * 3 for one in right]


def test_calls_at_once_on_the_same_input():
    layer = LAYERS[0]
    v = values_for(layer, np.float32)
    right, found = bits(run(F, layer, v, threads=1)), []
    workers = [threading.Thread(target=lambda: found.append(bits(run(F, layer, v)))) for _ in range(3)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    assert found == [right] * 3


FORK = """
import os, signal, warnings
import numpy as np
import streamnorm.nn.functional as F

warnings.simplefilter("ignore")  # newer Pythons warn of forks beside threads: that is what is tried
x = np.random.default_rng(0).normal(size=(64, 24, 28, 28)).astype(np.float32)
right = F.batch_norm(x, training=True, threads=1).tobytes()
assert F.batch_norm(x, training=True, threads=2).tobytes() == right
for _ in range(3):
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        os._exit(0 if F.batch_norm(x, training=True, threads=2).tobytes() == right else 3)
    assert F.batch_norm(x, training=True, threads=3).tobytes() == right
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
print("done")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system cannot fork")
def test_threads_after_fork():
    result = children.run(FORK)
    assert (result.status, result.out) == (0, "done\n"), result.err


def test_the_interpreter_can_end_while_threads_wait():
    result = children.run(
        "import numpy as np, streamnorm.nn.functional as F\n"
        "F.layer_norm(np.ones((4096, 512)), 512, threads=2)\n"
        "print('done')"
    )
    assert (result.status, result.out) == (0, "done\n"), result.err

"""The plain-NumPy twin of every compiled kernel: the same names, the same arguments, nothing clever.

A fast kernel is believed once it agrees with its twin on the hostile inputs. Nothing here is used at run
time.

The twins of the statistics and of the maps are here; those of ``streamnorm.nn.functional`` are in
``streamnorm.reference.norms``, those of dense layers, activations, losses and optimizers in
``streamnorm.reference.network``, those of images in ``streamnorm.reference.convolution`` and those of layers of
sequences in ``streamnorm.reference.recurrent``.
"""

from . import convolution, network, norms, recurrent
from .columns import BLOCK, ColumnStats, exact_sums, keys_of, selected, update_matrix
from .maps import affine, affine_matrix
from .sketches import QuantileSketch
from .tally import ColumnTally
from .unit import unit_rows

__all__ = [
    "BLOCK",
    "ColumnStats",
    "ColumnTally",
    "QuantileSketch",
    "affine",
    "affine_matrix",
    "convolution",
    "exact_sums",
    "keys_of",
    "network",
    "norms",
    "recurrent",
    "selected",
    "unit_rows",
    "update_matrix",
]

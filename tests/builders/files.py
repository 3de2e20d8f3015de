"""Saved values as they come back from a disk: arrays through safetensors, small values through JSON."""

import json

import numpy as np
from safetensors.numpy import load, save

from gradloom.saved import Saved


def through_a_file(saved: Saved) -> Saved:
    arrays = load(save({name: np.ascontiguousarray(array) for name, array in saved.arrays.items()}))
    return Saved(arrays, json.loads(json.dumps(dict(saved.values), allow_nan=False)))

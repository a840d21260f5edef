"""Launches of kernels in an update on a GPU, counted on a simulated one: the table of docs/gpu.md.

python -m benchmarks.launches
"""

import os

os.environ.setdefault("TRITON_INTERPRET", "1")  # Triton reads this when it is imported

import warnings

import numpy as np

from tests.support.launches import CASES, counts


def main() -> None:
    warnings.simplefilter("ignore")
    with np.errstate(all="ignore"):
        for name, case in CASES.items():
            print(f"| {name} | {counts(case)} |")


if __name__ == "__main__":
    main()

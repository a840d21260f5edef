"""Without a GPU, Triton's kernels are interpreted on the CPU; it asks for this before it is imported."""

import os

import torch

if not torch.cuda.is_available():
    os.environ["TRITON_INTERPRET"] = "1"

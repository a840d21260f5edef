"""The devices on which tests of rows and metrics run: the CPU, and a GPU if there is one."""

import pytest
import torch

DEVICES = ["cpu", *(["cuda"] if torch.cuda.is_available() else [])]
every_device = pytest.mark.parametrize("device", DEVICES)
needs_gpu = pytest.mark.skipif("cuda" not in DEVICES, reason="needs a GPU: tests of every device ran on the CPU only")

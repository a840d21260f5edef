"""How long a step of distillation takes: the divergence and its gradient in q."""

import functools

import torch

from benchmarks.contestants import OURS, TORCH, compiled, gradient_in_q, ours, torch_kl
from benchmarks.report import Section, paragraphs, times_table
from benchmarks.speed import NOISE, SPREAD, first_call, label
from benchmarks.timing import interleave
from tests.support.definitions import near

TEXT = "The divergence of each row of logits and the gradient of their sum in q, {}."


def measure(quick: bool) -> Section:
    shape = (16 if quick else 128, 128_256)
    p, q = near(shape, SPREAD, NOISE)
    extra = {name: gradient_in_q(call) for name, call in compiled().items()}
    note = first_call(extra, p, q)
    contestants = {OURS: gradient_in_q(ours), TORCH: gradient_in_q(torch_kl)} | extra
    calls = {name: functools.partial(call, p, q) for name, call in contestants.items()}
    times = times_table(interleave(calls, 3 if quick else 9))
    return Section("Gradients", paragraphs(TEXT.format(label(*shape, torch.float32)), times, note))

"""What several divergences cost: alone, together, one by one."""

import functools

import torch

from benchmarks.report import Section, paragraphs, ratio, spread_cells, table
from benchmarks.speed import NOISE, SPREAD, label
from benchmarks.timing import Call, interleave
from tests.support.definitions import near
from torchdivergence import (
    CrossEntropy,
    DivergenceCollection,
    DivergenceReport,
    DivergenceStatistics,
    Entropy,
    HellingerDistance,
    JeffreysDivergence,
    JensenShannonDivergence,
    KLDivergence,
    ReverseKLDivergence,
    TotalVariationDistance,
)

TEXT = """\
`update` on logits, {}: of `KLDivergence`; of a `DivergenceCollection` of it with the
reverse direction, Jeffreys, Jensen-Shannon, total variation, Hellinger, cross-entropy and entropy; of these eight one
after another; of `DivergenceStatistics`; and of a `DivergenceReport` with targets."""

EIGHT = (
    KLDivergence,
    ReverseKLDivergence,
    JeffreysDivergence,
    JensenShannonDivergence,
    TotalVariationDistance,
    HellingerDistance,
    CrossEntropy,
    Entropy,
)


def measure(quick: bool) -> Section:
    shape = (64 if quick else 512, 128_256)
    p, q = near(shape, SPREAD, NOISE)
    alone, together = KLDivergence(log_prob=True), DivergenceCollection([kind(log_prob=True) for kind in EIGHT])
    separate = [kind(log_prob=True) for kind in EIGHT]
    calls: dict[str, Call] = {
        "KL alone": functools.partial(alone.update, p, q),
        "eight, together": functools.partial(together.update, p, q),
        "eight, one by one": lambda: [metric.update(p, q) for metric in separate],
        "statistics of KL": functools.partial(DivergenceStatistics(KLDivergence(log_prob=True)).update, p, q),
        "report, with targets": functools.partial(DivergenceReport().update, p, q, p.argmax(-1)),
    }
    spreads = interleave(calls, 3 if quick else 9)
    rows = [[name, *spread_cells(spread), ratio(spread, to=spreads["KL alone"])] for name, spread in spreads.items()]
    times = table(["", "median", "least to greatest", "median over KL alone"], rows)
    return Section("Family", paragraphs(TEXT.format(label(*shape, torch.float32)), times))

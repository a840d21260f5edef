"""Quantities of p and of q alone, computed like divergences from the same pass over the classes, without gradients."""

from functools import partial

from torch import Tensor

from torchdivergence._divergences.pair import NormalizedPair
from torchdivergence._divergences.spec import AUXILIARY, Divergence, Term


def _no_grads(pair: NormalizedPair) -> tuple[Tensor, Tensor]:
    raise NotImplementedError("quantities of one side are computed without gradients")


def _log_mass(side: int, pair: NormalizedPair) -> Tensor:
    return pair.log_mass[side]


def _top(side: int, pair: NormalizedPair) -> Tensor:
    return pair.given[side].argmax(-1).reshape(-1, 1).double()  # different elements may have equal logarithms


LOG_MASSES = "log_mass_p", "log_mass_q"
"""Keys of the logarithms of the normalizers, for p and for q: what turns a logit into a log-probability."""
TOP_CLASSES = "top_p", "top_q"
"""Keys of the most likely classes, the first one of equal ones, as numbers; NaN for an invalid row."""

for _keys, _summand, _log_domain in (LOG_MASSES, _log_mass, True), (TOP_CLASSES, _top, False):
    for _side, _key in enumerate(_keys):
        _term = Term(_key, partial(_summand, _side), log_domain=_log_domain)
        AUXILIARY[_key] = Divergence(terms=(_term,), log_grads=_no_grads)

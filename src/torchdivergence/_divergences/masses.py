"""Logarithms of the normalizers: what turns a logit into a log-probability."""

from functools import partial

from torch import Tensor

from torchdivergence._divergences.pair import NormalizedPair
from torchdivergence._divergences.spec import AUXILIARY, Divergence, Term


def _no_grads(pair: NormalizedPair) -> tuple[Tensor, Tensor]:
    raise NotImplementedError("the logarithms of the normalizers are computed without gradients")


LOG_MASSES = "log_mass_p", "log_mass_q"
"""Their keys, for p and for q. They are computed like divergences, from the same pass."""

for _side, _key in enumerate(LOG_MASSES):
    _term = Term(_key, partial(lambda side, pair: pair.log_mass[side], _side), log_domain=True)
    AUXILIARY[_key] = Divergence(terms=(_term,), log_grads=_no_grads)

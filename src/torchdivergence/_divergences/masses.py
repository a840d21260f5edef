"""Logarithms of the normalizers: what turns a logit into a log-probability."""

from torchdivergence._divergences.spec import Term

LOG_MASSES = (
    Term("log_mass_p", lambda pair: pair.log_mass[0], log_domain=True),
    Term("log_mass_q", lambda pair: pair.log_mass[1], log_domain=True),
)

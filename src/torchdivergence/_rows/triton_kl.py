"""The Triton backend: KL divergence on a GPU, one program per row, each number read once.

A row is processed in chunks of classes. Within a chunk the arithmetic is float32, on distributions that are normalized
over the chunk. The chunks are joined in float64 by the chain rule of the divergence::

    D(p || q) = D(chunk masses of p || those of q) + sum_k P_k * D(p within k || q within k)

So three numbers represent all classes read so far: the logarithm of their mass in p, the logarithm of the ratio of
their masses (more accurate than a difference of two logarithms), and the divergence within them.
"""

import torch
import triton
import triton.language as tl
from torch import Tensor

from torchdivergence._divergences import Term

_CHUNK = 4096
_NARROW = (torch.float16, torch.bfloat16, torch.float32)


def supports(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, term: Term) -> bool:  # noqa: ARG001
    """Whether these tensors and this term are supported; the number of rows does not matter."""
    return p.is_cuda and p.dtype in _NARROW and q.dtype in _NARROW and term.name == "kl"


def term_sums(p: Tensor, q: Tensor, log_prob: tuple[bool, bool], temperature: float, terms: tuple[Term, ...]) -> Tensor:
    """See :func:`torchdivergence._rows.reference.term_sums`; there is one term."""
    values = torch.empty(len(terms), *p.shape[:-1], dtype=torch.float64, device=p.device)
    classes = p.shape[-1]
    chunk = min(_CHUNK, triton.next_power_of_2(classes))
    with torch.cuda.device_of(p):
        if rows := values.numel():
            places = _offsets(p), _offsets(q), p.stride(-1), q.stride(-1)
            settings = classes, temperature, *log_prob, temperature != 1, chunk
            _kl_rows[(rows,)](p, q, values, *places, *settings, enable_fp_fusion=True, num_warps=8)
    return values


def _offsets(x: Tensor) -> Tensor:
    """Offset of each row from the start of x, in numbers."""
    offsets = torch.zeros((), dtype=torch.int64, device=x.device)
    for size, stride in zip(x.shape[:-1], x.stride()[:-1], strict=True):
        offsets = offsets.unsqueeze(-1) + torch.arange(0, size, device=x.device) * stride
    return offsets.flatten()


@triton.jit
def _log1p(x):
    u = 1 + x
    return tl.where(u == 1, x, tl.log(u) * x / tl.where(u == 1, 1, u - 1))


@triton.jit
def _expm1(x):
    u = tl.exp(x)
    log_u = tl.log(tl.where(u == 0, 1, u))
    return tl.where(u == 1, x, tl.where(u == 0, -1, (u - 1) * x / tl.where(u == 1, 1, log_u)))


@triton.jit
def _log_excess(r):
    """R - log(1 + r) without cancellation."""
    return tl.where(tl.abs(r) < 1e-3, r * r * (0.5 - r * (1 / 3 - r * (0.25 - r * 0.2))), r - tl.log(1 + r))


@triton.jit
def _log_weights(pointer, index, mask, temperature, IS_LOG: tl.constexpr, SCALED: tl.constexpr):
    """Log-weights of a chunk, in float64 unless they are unscaled logits; and whether one of them is invalid."""
    x = tl.load(pointer + index, mask=mask, other=0).to(tl.float32)
    if IS_LOG:
        valid = x < float("inf")  # False for NaN
        a = tl.where(mask & valid, x.to(tl.float64) / temperature if SCALED else x, -float("inf"))
    else:
        valid = (x >= 0) & (x < float("inf"))
        positive = mask & valid & (x > 0)
        a = tl.where(positive, tl.log(tl.where(positive, x, 1).to(tl.float64)), -float("inf"))
    return a, tl.min(valid.to(tl.int32), 0) == 0


@triton.jit
def _delta(a, b, both, tops, log_masses):
    """A - b - tops - log_masses, accurate to float32 whatever the size of a and b; 0 where one of them is infinite."""
    a, b = tl.where(both, a, 0), tl.where(both, b, 0)
    s = a - b
    back = s - a
    rest = (a - (s - back)) - (b + back)  # s + rest = a - b exactly (Knuth)
    high = tops.to(s.dtype)
    delta = (s - high) + (rest - (tops - high).to(s.dtype)) - log_masses
    limit = 3.4028234663852886e38
    return tl.where(both, tl.minimum(tl.maximum(delta, -limit), limit), 0).to(tl.float32)


@triton.jit
def _exp(x):
    """exp(x) for x <= 80, accurate to float32 (the hardware's loses digits where x is large); 0 below exp(-87)."""
    n = tl.floor(tl.maximum(x, -90.0) * 1.44269504 + 0.5)
    f = (tl.maximum(x, -90.0) - n * 0.693359375) + n * 2.12194440e-4  # less n log 2, in two parts (Cody and Waite)
    series = 1 / 24 + f * (1 / 120 + f * (1 / 720 + f / 5040))
    series = 1 + f * (1 + f * (0.5 + f * (1 / 6 + f * series)))
    power = (n.to(tl.int32) + 127 << 23).to(tl.float32, bitcast=True)  # 2 ** n
    return tl.where(x < -87, 0.0, series * power)


@triton.jit
def _softmax(a, top):
    weights = _exp((a - top).to(tl.float32))
    total = tl.sum(weights, 0)
    return weights / total, total.to(tl.float64)


@triton.jit
def _excess(delta, p, q):
    """Summand p * (exp(-delta) - 1 + delta): a series near 0, and q - p + p * delta where p is far below q."""
    series = 1 / 5040 - delta * (1 / 40320 - delta / 362880)
    series = 1 / 24 - delta * (1 / 120 - delta * (1 / 720 - delta * series))
    near = delta * delta * (0.5 - delta * (1 / 6 - delta * series))
    middle = _exp(-tl.maximum(delta, -10.0)) - 1 + delta
    return tl.where(delta < -10, q - p + p * delta, p * tl.where(tl.abs(delta) < 0.75, near, middle))


@triton.jit
def _within(a, b, top_a, top_b):
    """For a chunk with mass in p and q: log mass of p, log ratio of the masses (q over p), divergence."""
    p, total_p = _softmax(a, top_a)
    q, total_q = _softmax(b, top_b)
    tops, log_masses = top_a.to(tl.float64) - top_b.to(tl.float64), tl.log(total_p / total_q).to(tl.float32)
    both = (a > -float("inf")) & (b > -float("inf"))
    delta = _delta(a, b, both, tops, log_masses)
    d = tl.sum(tl.where(both, _excess(delta, p, q), q), 0).to(tl.float64)  # q: where p = 0
    r = d - tl.sum(p * delta, 0).to(tl.float64)  # the sum of q - p over the classes: not 0, as the masses are rounded
    return top_a.to(tl.float64) + tl.log(total_p), _log1p(r) - tops - log_masses, d - _log_excess(r)


@triton.jit
def _join(mass, ratio, d, mass_k, ratio_k, d_k):
    """Chain rule for two sets of classes with mass in p and q; the one that is heavier in p is the base."""
    swap = mass_k > mass
    heavy, light = tl.where(swap, mass_k, mass), tl.where(swap, mass, mass_k)
    base, step = tl.where(swap, ratio_k, ratio), tl.where(swap, ratio - ratio_k, ratio_k - ratio)
    d_heavy, d_light = tl.where(swap, d_k, d), tl.where(swap, d, d_k)
    total = heavy + _log1p(tl.exp(light - heavy))
    w = tl.exp(light - total)
    far = light - total + step  # log of the lighter set's q-mass, relative to the base
    x = tl.where(step < 1, w * _expm1(tl.minimum(step, 1.0)), tl.exp(tl.minimum(far, 700.0)) - w)
    rise = tl.where(far > 700, far, _log1p(x))
    return total, base + rise, (1 - w) * d_heavy + w * d_light + (rise - w * step)


@triton.jit
def _log_sum(x, y):
    """log(exp(x) + exp(y)), for x or y finite."""
    return tl.maximum(x, y) + _log1p(tl.exp(-tl.abs(x - y)))


@triton.jit
def _kl_rows(
    p_pointer, q_pointer, values, p_offsets, q_offsets, p_stride, q_stride, classes, temperature,
    LOG_P: tl.constexpr, LOG_Q: tl.constexpr, SCALED: tl.constexpr, CHUNK: tl.constexpr,
):  # fmt: skip
    row = tl.program_id(0)
    p_pointer += tl.load(p_offsets + row)
    q_pointer += tl.load(q_offsets + row)
    none = tl.full((), -float("inf"), tl.float64)
    mass, lone_q = none, none  # log p-mass so far; log q-mass of the chunks without p
    ratio, d = tl.zeros((), tl.float64), tl.zeros((), tl.float64)
    invalid, infinite, any_p, any_q = row < 0, row < 0, row < 0, row < 0  # all False, as values of the kernel
    for start in range(0, classes, CHUNK):
        index = start + tl.arange(0, CHUNK).to(tl.int64)
        a, bad_a = _log_weights(p_pointer, index * p_stride, index < classes, temperature, LOG_P, SCALED)
        b, bad_b = _log_weights(q_pointer, index * q_stride, index < classes, temperature, LOG_Q, SCALED)
        invalid = invalid | bad_a | bad_b
        infinite = infinite | (tl.max(((a > -float("inf")) & (b == -float("inf"))).to(tl.int32), 0) > 0)
        top_a, top_b = tl.max(a, 0), tl.max(b, 0)
        has_p, has_q = top_a > -float("inf"), top_b > -float("inf")
        any_p, any_q = any_p | has_p, any_q | has_q
        if has_q & (has_p == 0):
            lone_q = _log_sum(lone_q, top_b.to(tl.float64) + tl.log(_softmax(b, top_b)[1]))
        if has_q & has_p:
            mass_k, ratio_k, d_k = _within(a, b, top_a, top_b)
            if mass > -float("inf"):
                mass, ratio, d = _join(mass, ratio, d, mass_k, ratio_k, d_k)
            else:
                mass, ratio, d = mass_k, ratio_k, d_k
    d += tl.where(lone_q > -float("inf"), _log_sum(0.0, lone_q - mass - ratio), 0.0)
    d = tl.where(infinite, float("inf"), tl.maximum(d, 0.0))
    tl.store(values + row, tl.where(invalid | (any_p == 0) | (any_q == 0), float("nan"), d))

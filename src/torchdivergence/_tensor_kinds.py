"""What kind of tensor it is: plain memory of the CPU, or something that only torch's dispatcher can handle."""

import torch
from torch import Tensor
from torch._C import _functorch as functorch
from torch.autograd import forward_ad

PLAIN_TYPES = (Tensor, torch.nn.Parameter)
FLOATS = torch.float64, torch.float32, torch.bfloat16, torch.float16


def _tensor_keys(x: Tensor) -> int:
    """The dispatch keys of x, as a bit mask."""
    keys: int = torch._C._dispatch_keys(x).raw_repr()
    return keys


def _mode_keys() -> int:
    """The dispatch keys that the active modes add to every call, as a bit mask."""
    keys: int = torch._C._dispatch_tls_local_include_set().raw_repr()
    return keys


with torch.inference_mode(False):
    _KEYS = _tensor_keys(torch.empty(0, device="cpu"))
    _NO_MODES = _mode_keys()
with torch.inference_mode():
    _INFERENCE_KEYS = _tensor_keys(torch.empty(0, device="cpu"))
    _INFERENCE_MODE = _mode_keys()


def no_modes() -> bool:
    """Whether no compiler, tracer, ``torch.func`` transform or dispatch mode is active; inference mode may be."""
    if torch.compiler.is_compiling():
        return False
    return _mode_keys() in (_NO_MODES, _INFERENCE_MODE)


def needs_gradient(*tensors: Tensor) -> bool:
    """Whether a backward pass may ask for gradients of some of the tensors."""
    return torch.is_grad_enabled() and any(x.requires_grad for x in tensors)


def in_dual_level() -> bool:
    """Whether tensors may carry tangents of forward-mode differentiation, outside ``torch.func``."""
    return forward_ad._current_level >= 0


def in_func_transform() -> bool:
    """Whether a transform of ``torch.func`` is active."""
    return functorch.peek_interpreter_stack() is not None


def is_plain(x: Tensor) -> bool:
    """Whether x is numbers in CPU memory and nothing else, so that its address may be used without the dispatcher.

    A subclass, wrapper or fake is not plain, nor is a view with a pending negation or conjugation.
    """
    if type(x) not in PLAIN_TYPES:
        return False
    return _tensor_keys(x) in (_KEYS, _INFERENCE_KEYS)


def has_memory(x: Tensor) -> bool:
    """Whether x is plain in the sense of :func:`is_plain`, on the CPU or on CUDA."""
    if is_plain(x):
        return True
    return x.is_cuda and type(x) in PLAIN_TYPES and not (x.is_neg() or x.is_conj()) and not in_func_transform()


def has_values(x: Tensor) -> bool:
    """Whether the values of x may be inspected at once: it is on the CPU, and nothing is traced or transformed."""
    return no_modes() and is_plain(x)


def cannot_be_saved(x: Tensor) -> bool:
    """Whether autograd cannot save x: it was made in inference mode, which has ended."""
    if torch.compiler.is_compiling():
        return False
    return x.is_inference() and not torch.is_inference_mode_enabled()


def may_skip_dispatcher(*tensors: Tensor) -> bool:
    """Whether a kernel may be called without the dispatcher: no derivative, transform or tracer needs to see it."""
    if not no_modes() or in_dual_level() or not all(map(is_plain, tensors)):
        return False
    return not needs_gradient(*tensors)


def is_dtensor(x: object) -> bool:
    """Whether x is a DTensor. Its module is not imported for that: it takes a second."""
    return type(x) not in PLAIN_TYPES and any(cls.__name__ == "DTensor" for cls in type(x).__mro__)

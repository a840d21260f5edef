"""Names that arguments have in other libraries, and what to write here."""

from collections.abc import Collection

_REFERENCE = "p is the reference (the target) and q the prediction: pass them as p and q"
_HERE = {
    "mask": "use weights=mask",
    "sample_weight": "use weights",
    "weight": "use weights",
    "log_target": "use log_prob: a bool, or a pair (of p, of q)",
    "from_logits": "use log_prob=True, which takes logits and log-probabilities",
    "logits": "use log_prob=True, which takes logits and log-probabilities",
    "preds": _REFERENCE,
    "input": _REFERENCE,
    "predictions": _REFERENCE,
    "labels": _REFERENCE,
    "size_average": "use reduction",
    "reduce": "use reduction",
    "axis": "use dim",
    "T": "use temperature",
}
_ALSO_TARGET = {**_HERE, "target": _REFERENCE}


def refuse_other_names(names: Collection[str], allow_target: bool = True) -> None:
    """Raise if one of the names of arguments is that of another library."""
    here = _HERE if allow_target else _ALSO_TARGET
    for name in names:
        if name in here:
            raise TypeError(f"there is no argument {name!r}: {here[name]}.")

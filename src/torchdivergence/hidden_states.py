"""Hidden states on disk: a reference model runs once, and candidates are compared with it later."""

import json
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from typing import Any, NamedTuple, TypeGuard

import torch
from torch import Tensor

from torchdivergence._inputs.heads import LanguageModelHead
from torchdivergence._inputs.projected import Head, Projected

__all__ = ["HiddenStates", "StoredBatch"]

FORMAT, VERSION = "torchdivergence.hidden_states", 1
_HEAD, _HIDDEN, _SETTINGS = "head.safetensors", "hidden", "settings"


class StoredBatch(NamedTuple):
    """A batch of stored hidden states.

    Attributes:
        projected: The hidden states with their head, in place of logits.
        tensors: The tensors that were stored with them, by name.
    """

    projected: Projected
    tensors: dict[str, Tensor]


class HiddenStates:
    """A folder of hidden states with their head, a file for each batch. This needs safetensors.

    The folder holds ``head.safetensors`` and a file for each batch, ``000000.safetensors`` and so on. The file of a
    batch has the tensor ``hidden``, ``[*batch, width]``, and the tensors that go with it. The head has ``weight``,
    ``[classes, width]``, and ``bias`` if there is one. The metadata of each file name the format and its version. Those
    of the head also have the scale and the softcap of the logits.

    Args:
        folder: The folder. It is made by the first :meth:`append`.
        head: The head, if it cannot be stored: any callable but a linear layer or :meth:`Projected.of`. Then it must be
            given for reading, too.
        settings: ``num_classes``, ``dtype`` and ``block_size`` of the batches that are read, as for :class:`Projected`.

    Raises:
        ModuleNotFoundError: safetensors is not installed.
        ValueError: A file has another format, or a shape that does not fit the head.

    Example:
        >>> import tempfile
        >>> import torch
        >>> from torchdivergence import HiddenStates, KLDivergence, Projected
        >>> head, hidden = torch.nn.Linear(8, 50), torch.randn(2, 30, 8)
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     HiddenStates(folder).append(Projected(hidden, head), mask=torch.ones(2, 30))
        ...     kl = KLDivergence(log_prob=True)
        ...     for p, tensors in HiddenStates(folder):
        ...         kl.update(p, Projected(hidden, head), weights=tensors["mask"])
        >>> kl.compute()
        tensor(0., dtype=torch.float64)
    """

    def __init__(self, folder: str | Path, head: Head | None = None, **settings: Any) -> None:
        self.folder, self.head, self.settings = Path(folder), head, settings
        self._files = _safetensors()
        self._compared: Head | None = None  # the head that is known to be the stored one

    def __len__(self) -> int:
        """Number of batches."""
        return len(list(self.folder.glob("[0-9]*.safetensors")))

    def __iter__(self) -> Iterator[StoredBatch]:
        """The batches in the order in which they were appended."""
        head = self.head or self._stored_head()
        for place in range(len(self)):
            tensors, _ = self._read(self._path(place))
            hidden = tensors.pop(_HIDDEN)
            width = getattr(getattr(head, "output", head), "in_features", hidden.shape[-1])
            if hidden.shape[-1] != width:
                raise ValueError(
                    f"{self._path(place)} has hidden states of width {hidden.shape[-1]}, but the head has {width}."
                )
            yield StoredBatch(Projected(hidden, head, **self.settings), tensors)

    def append(self, projected: Projected, **tensors: Tensor) -> None:
        """Store a batch of hidden states, and tensors that go with it, such as ``target``, ``weights`` or ``keys``."""
        if _HIDDEN in tensors:
            raise ValueError(f"{_HIDDEN!r} is the name of the hidden states: give the tensor another name.")
        self.folder.mkdir(parents=True, exist_ok=True)
        if self.head is None and projected.head is not self._compared:
            self._store_head(projected.head)
            self._compared = projected.head
        places = [int(path.stem) for path in self.folder.glob("[0-9]*.safetensors")]
        self._write(self._path(max(places, default=-1) + 1), {_HIDDEN: projected.hidden, **tensors}, {})

    def _path(self, place: int) -> Path:
        return self.folder / f"{place:06}.safetensors"

    def _store_head(self, head: Head) -> None:
        own = head if isinstance(head, LanguageModelHead) else LanguageModelHead(head)
        linear = own.output
        if not _is_plain_linear(linear):
            raise TypeError(
                f"only a linear head can be stored, but this one is a {type(linear).__name__}: give it to "
                "HiddenStates(folder, head), here and for reading."
            )
        tensors = {"weight": linear.weight} | ({} if linear.bias is None else {"bias": linear.bias})
        settings = {"scale": own.scale, "softcap": own.softcap}
        path = self.folder / _HEAD
        if not path.exists():
            self._write(path, tensors, settings)
            return
        stored, others = self._read(path)
        if (
            others != settings
            or stored.keys() != tensors.keys()
            or any(not torch.equal(stored[name], x.detach().cpu()) for name, x in tensors.items())
        ):
            raise ValueError(f"{self.folder} holds hidden states of another head: use another folder for each model.")

    def _stored_head(self) -> LanguageModelHead:
        path = self.folder / _HEAD
        if not path.exists():
            raise ValueError(f"{self.folder} has no {_HEAD}: give the head, HiddenStates(folder, head).")
        tensors, settings = self._read(path)
        weight, bias = tensors["weight"], tensors.get("bias")
        linear = torch.nn.Linear(weight.shape[1], weight.shape[0], bias is not None, device="meta")
        linear.load_state_dict(tensors, assign=True)
        return LanguageModelHead(linear.requires_grad_(False), **settings)

    def _write(self, path: Path, tensors: dict[str, Tensor], settings: dict[str, Any]) -> None:
        metadata = {"format": FORMAT, "version": str(VERSION), _SETTINGS: json.dumps(settings)}
        plain = {name: x.detach().cpu().contiguous() for name, x in tensors.items()}
        unfinished = path.with_suffix(".part")
        self._files.torch.save_file(plain, unfinished, metadata)
        unfinished.rename(path)

    def _read(self, path: Path) -> tuple[dict[str, Tensor], dict[str, Any]]:
        try:
            with self._files.safe_open(path, "pt") as file:
                metadata = file.metadata() or {}
                tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
        except (OSError, self._files.SafetensorError) as error:
            raise ValueError(f"{path} cannot be read as hidden states: {error}.") from error
        if (metadata.get("format"), metadata.get("version")) != (FORMAT, str(VERSION)):
            found = f"{metadata.get('format')!r}, version {metadata.get('version')}"
            raise ValueError(f"{path} must have the format {FORMAT!r}, version {VERSION}, but has {found}.")
        return tensors, json.loads(metadata[_SETTINGS])


def _is_plain_linear(layer: Any) -> TypeGuard[torch.nn.Linear]:
    """Whether a layer computes what its weight and bias say, and nothing else."""
    if not isinstance(layer, torch.nn.Linear) or type(layer).forward is not torch.nn.Linear.forward:
        return False
    return not any(vars(layer)[name] for name in ("_forward_hooks", "_forward_pre_hooks"))


def _safetensors() -> Any:
    try:
        import_module("safetensors.torch")
        return import_module("safetensors")
    except ModuleNotFoundError as error:
        raise ModuleNotFoundError("HiddenStates needs safetensors: pip install safetensors.") from error

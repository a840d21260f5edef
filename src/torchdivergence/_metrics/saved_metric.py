"""A metric that is saved to a file with its settings, and loaded from it. This needs safetensors."""

import json
from abc import abstractmethod
from collections.abc import Mapping
from os import PathLike
from pathlib import Path
from typing import Any, Self

import torch

from torchdivergence._metrics.dict_metric import DictMetric

_KIND = "torchdivergence"
"""Entry of a file that names the class of the metric: other files lack it."""


class SavedMetric(DictMetric):
    """A metric with ``save`` and ``load``. A file holds the state as one tensor, and strings: settings and metadata."""

    def __init__(self, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self._metadata: Mapping[str, str] = {}

    @property
    @abstractmethod
    def settings(self) -> dict[str, Any]:
        """The arguments of the constructor that decide what is computed, in types of JSON."""

    @property
    def metadata(self) -> dict[str, str]:
        """What was saved beside the state in the file from which the metric was loaded."""
        return dict(self._metadata)

    def save(self, path: str | PathLike[str], metadata: Mapping[str, str] | None = None) -> None:
        """Save the state, the settings and metadata to a file in the format of safetensors.

        This saves the state of this process; between ``sync()`` and ``unsync()`` that is the state of all processes.

        Args:
            path: The file. It is replaced if it exists.
            metadata: Strings by names, such as the names of the models. By default those that were loaded.
        """
        given = self._metadata if metadata is None else metadata
        if not isinstance(given, Mapping) or not all(isinstance(x, str) for x in (*given, *given.values())):
            raise TypeError(f"metadata must be strings by names, but got {given!r}: use str() or json.dumps().")
        texts = {_KIND: type(self).__name__, "settings": json.dumps(self.settings), "metadata": json.dumps(dict(given))}
        state = self.current_state.detach().cpu().contiguous()
        _safetensors().torch.save_file({self._state_name: state}, path, metadata=texts)

    @classmethod
    def load(cls, path: str | PathLike[str]) -> Self:
        """The metric that was saved to a file, on the CPU.

        Raises:
            ValueError: The file was not written by ``save`` of this class, is damaged, or was written by a version with
                another format or other settings.
        """
        states, texts = _read(path)
        if texts.get(_KIND) != cls.__name__ or not texts.keys() >= {"settings", "metadata"}:
            raise ValueError(f"{path} was not written by {cls.__name__}.save(), or is damaged.")
        try:
            metric = cls(**cls._checked(dict(json.loads(texts["settings"]))))
            metadata = dict(json.loads(texts["metadata"]))
        except (TypeError, ValueError) as error:
            raise ValueError(f"{path} cannot be loaded: its settings or metadata are wrong. {error}") from None
        if mismatch := metric._mismatch(states):
            raise ValueError(f"{path} cannot be loaded: its state does not belong to its settings: {mismatch}.")
        metric.merge_state(states)
        metric._metadata = metadata
        return metric

    @classmethod
    def _checked(cls, settings: dict[str, Any]) -> dict[str, Any]:
        """The settings of a file. Raises ValueError unless all are there, and no others: a default may change."""
        names = cls().settings.keys()
        unknown, missing = sorted(settings.keys() - names), sorted(names - settings.keys())
        if unknown or missing:
            raise ValueError(
                f"This version of {cls.__name__} has no settings {unknown}, and the file has no settings {missing}."
            )
        return settings


def _read(path: str | PathLike[str]) -> tuple[dict[str, torch.Tensor], dict[str, str]]:
    """The tensors and the strings of a file; none if its format is another one."""
    safetensors = _safetensors()
    with Path(path).open("rb"):  # safetensors would misname the error of a folder
        pass
    try:
        with safetensors.safe_open(path, "pt") as file:
            return {name: file.get_tensor(name) for name in file.keys()}, file.metadata() or {}  # noqa: SIM118
    except safetensors.SafetensorError:
        return {}, {}


def _safetensors() -> Any:
    try:
        import safetensors.torch
    except ImportError:
        raise ModuleNotFoundError(
            "save() and load() need safetensors: pip install 'torchdivergence[compare]'."
        ) from None
    return safetensors

"""A ``torchmetrics.Metric`` with one state: the life cycle of update, forward, sync, load and move.

What torchmetrics does to a metric is handled here; what the state means is not known here. With a single state each
step is atomic: everything that can fail is done before the state is replaced by one assignment. It also takes a single
collective.
"""

import functools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, ClassVar

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat
from torchmetrics.utilities.distributed import gather_all_tensors
from torchmetrics.utilities.exceptions import TorchMetricsUserError

from torchdivergence._compile import dynamo_disable
from torchdivergence._inputs.names import refuse_other_names
from torchdivergence._metrics.comparison import ComparableMetric
from torchdivergence._metrics.foreign_states import other_format, state_mismatch
from torchdivergence._metrics.owned_state import OwnedState, is_captured, may_own
from torchdivergence._states.part import Part

State = Tensor | list[Tensor]


class SingleStateMetric(ComparableMetric):
    """A metric whose state is one int64 tensor, described by a part, or a list of int64 tensors.

    On the CPU the tensor is replaced and never written into. On other devices the metric owns its tensor from the first
    update on: see ``owned_state``. Then the attribute with the name of the state is missing from ``__dict__``: reading
    it gives a copy, and assigning to it writes into the tensor.

    An update may be captured in a CUDA graph. A replay runs no Python, so from then on computed values are not cached.
    ``forward`` does not call ``update``: a subclass that changes what is accumulated overrides ``_batch_stats``.
    """

    is_differentiable = False
    full_state_update = False
    _state_name: str
    _owned: OwnedState | None = None
    _was_captured = False
    """Whether an update was captured in a CUDA graph."""
    __jit_ignored_attributes__: ClassVar[list[str]] = [
        *Metric.__jit_ignored_attributes__,
        *("evaluator", "shared_pass", "spec", "_part", "_parts", "_statistics", "_results", "_parameter", "_metadata"),
        *("_owned", "_views"),
    ]

    def _register_state(self, name: str, part: Part[Any] | None) -> None:
        """Declare the state: that of a part, or without one an empty list.

        The name must contain everything that decides what a row adds to the state: a ``MetricCollection`` considers
        metrics to be equal if their states have the same names, and the same values after the first batch.
        """
        self._state_name, self._part = name, part
        if part is None:
            self.add_state(name, [], dist_reduce_fx="cat")
        else:
            self.add_state(name, part.empty().to(self.device), dist_reduce_fx=part.merge)

    @abstractmethod
    def _batch_stats(self, *args: Any, **kwargs: Any) -> Any:
        """The batch in the form that is accumulated. Takes the arguments of ``update``; raises on bad input."""

    def _accumulate(self, state: State, batch: Any) -> State:
        """The state with the batch: a new tensor, or the same list with more elements."""
        assert self._part is not None and isinstance(state, Tensor)
        return self._part.extended(state, batch)

    @abstractmethod
    def _finalize(self, state: Tensor) -> Any:
        """The metric's value from the state; lists come concatenated."""

    def _before_compute(self) -> None:
        """Called first by ``compute``."""

    def __getattr__(self, name: str) -> Any:
        """A copy of the state that this metric owns; else what a module has of this name."""
        owned = self.__dict__.get("_owned")
        if owned is not None and name == self._state_name:
            return owned.copy()
        return super().__getattr__(name)

    def __setattr__(self, name: str, value: Any) -> None:
        """Set an attribute. A state is written into the tensor that this metric owns, if it fits."""
        if (owned := self.__dict__.get("_owned")) is not None and name == self._state_name:
            if owned.assign(value):
                if is_captured(owned.tensor):
                    self._begin_capture()
                return
            super().__setattr__("_owned", None)
        super().__setattr__(name, value)

    def __hash__(self) -> int:
        """By identity, as of other metrics; torchmetrics' own takes the copy of an owned state for another one."""
        return super().__hash__() if self._owned is None else hash((type(self).__name__, id(self)))

    def __getstate__(self) -> dict[str, Any]:
        """Another process or a copy gets a state of its own, and has captured nothing."""
        content = super().__getstate__()
        if (owned := content.pop("_owned", None)) is not None:
            content[self._state_name] = owned.copy()
        content.pop("_was_captured", None)
        return content

    @property
    def _live_state(self) -> State:
        """The state itself: to be read at once, and written into by its owner alone."""
        return self._owned.tensor if self._owned else self.__dict__[self._state_name]

    @property
    def current_state(self) -> Tensor:
        """The state as one tensor, which never changes."""
        return self._as_tensor(getattr(self, self._state_name))

    @property
    def owned_tensor(self) -> Tensor | None:
        """The tensor that this metric owns, if it does: for copying at once."""
        return self._owned.tensor if self._owned else None

    def _as_tensor(self, state: State) -> Tensor:
        if isinstance(state, list):
            return dim_zero_cat(state) if state else torch.empty(0, dtype=torch.int64, device=self.device)
        return state

    @property
    def state_device(self) -> torch.device:
        """The device of the state."""
        state = self._live_state
        return self.device if isinstance(state, list) else state.device

    @property
    def is_computed(self) -> bool:
        """Whether the value was computed since the last update."""
        return self._computed is not None

    def adopt(self, state: Tensor) -> None:
        """Compute the value from the synchronized state of all processes, and remember it."""
        self._computed = self._finalize(state)

    def compute(self) -> Any:
        """The value over all rows since the last reset, on all processes."""
        return self._finalize(self._as_tensor(self._live_state))

    @torch.jit.unused
    @dynamo_disable
    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Update with a batch, and return the value over this batch alone."""
        self._refuse_if_synced()
        with self.atomic(), torch.no_grad():
            default = self._defaults[self._state_name]
            empty: State = [] if isinstance(default, list) else default.to(self.device)
            batch = self._accumulate(empty, self._batch_stats(*args, **kwargs))
            value = self._value_of(batch)
            self._merge_in(batch)
            if self.compute_on_cpu:
                self._move_list_states_to_cpu()
            self._update_count += 1
            self._computed = None
            self._forward_cache = value
        return value

    @contextmanager
    def atomic(self, before_update: Tensor | None = None) -> Iterator[None]:
        """If the body raises, the metric is as it was before.

        Args:
            before_update: A copy of the state, if the body may write into it and then raise.
        """
        state = self._live_state
        length = len(state)
        before = self._update_count, self._computed, self._forward_cache
        try:
            yield
        except BaseException:
            if isinstance(state, list):  # it may have grown
                del state[length:]
            setattr(self, self._state_name, state if before_update is None else before_update)
            self._update_count, self._computed, self._forward_cache = before
            raise

    def _apply_batch(self, batch: Any) -> None:
        state = self._live_state
        if not may_own(self._part, state):
            setattr(self, self._state_name, self._accumulate(state, batch))
            return
        assert self._part is not None and isinstance(state, Tensor)
        if is_captured(state):
            self._begin_capture()
        owned = self._owned or OwnedState(state)
        owned.add(self._part, batch)
        if not self._owned:
            self._owned = owned
            del self.__dict__[self._state_name]

    def _begin_capture(self) -> None:
        if not self._owned:
            raise RuntimeError(
                f"{type(self).__name__} must be updated once before an update is captured in a CUDA graph, so that its "
                "kernels are compiled and its state is allocated: call update() with a batch, then reset()."
            )
        self._was_captured = True

    def _merge_in(self, state: State) -> None:
        # a list may be shared, too: a MetricCollection lets equal metrics have one, and calls the forward of each
        own: Any = self._live_state
        parts = [x.to(self.device) for x in ([state] if isinstance(state, Tensor) else state)]
        merged = own + parts if self._part is None else self._part.merge_all([own, parts[0]])
        setattr(self, self._state_name, merged)

    def _value_of(self, batch: State) -> Any:
        """The value over one batch; over the batches of all processes if ``dist_sync_on_step`` is set."""
        own = getattr(self, self._state_name)
        if isinstance(batch, Tensor) and not self.dist_sync_on_step:
            return self._finalize(batch)
        try:
            setattr(self, self._state_name, batch)
            with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self.dist_sync_on_step):
                state = self.current_state
        finally:
            setattr(self, self._state_name, own)
        return self._finalize(state)

    def _refuse_if_synced(self) -> None:
        if self._is_synced:
            raise TorchMetricsUserError(
                f"{type(self).__name__} shouldn't be synced when it is updated: unsync() would undo it. Unsync first."
            )

    def reset(self) -> None:
        """Forget all rows."""
        if self._part is None:
            setattr(self, self._state_name, [])  # torchmetrics would clear the old list, which others may hold
        super().reset()

    def merge_state(self, incoming_state: "dict[str, Any] | Metric") -> None:
        """Add the state of another metric with the same settings, or a dict of its state."""
        self._refuse_if_synced()
        if not isinstance(incoming_state, Metric | dict):
            raise ValueError(
                f"merge_state needs a metric or a dict of its state, but got {type(incoming_state).__name__}."
            )
        states: dict[str, Any] = incoming_state.metric_state if isinstance(incoming_state, Metric) else incoming_state
        if mismatch := self._mismatch(states):
            raise ValueError(
                f"merge_state needs the state {self._state_name!r} of a {type(self).__name__} with the same settings, "
                f"but {mismatch}."
            )
        with self.atomic():
            self._merge_in(states[self._state_name])
            if self.compute_on_cpu:
                self._move_list_states_to_cpu()
            self._computed = None
            self._update_count += 1

    def _mismatch(self, states: Mapping[str, Any]) -> str:
        """What is wrong if there is no state of this metric among some states, by name; else an empty string."""
        state = states.get(self._state_name)
        if state is None:
            return other_format(self._state_name, states) or f"the incoming states are {sorted(states)}"
        return state_mismatch(self._part, state)

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # torchmetrics accepts any state, keeps a value computed before, and warns of a missing update
        _, strict, missing_keys, _, error_msgs = args
        name = prefix + self._state_name
        if strict and self._persistent[self._state_name] and name not in state_dict:
            missing_keys.append(name)  # torchmetrics would continue with an empty state
        if name in state_dict:
            state = state_dict[name]
            if mismatch := state_mismatch(self._part, state):
                error_msgs.append(f"{name} does not fit {type(self).__name__}: {mismatch}.")
                return
            parts = state if isinstance(state, list) else [state]
            own = [part.to(self.state_device) for part in parts]
            state_dict = {**state_dict, name: own if self._part is None else own[0]}
            self._computed = None
            self._update_count = max(1, self._update_count)
        elif other := other_format(name, state_dict):
            error_msgs.append(f"{name}: {other}.")
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _apply(self, fn: Callable[[Tensor], Tensor], *args: Any, **kwargs: Any) -> torch.nn.Module:
        # integers and float64 values keep their dtype whatever a model is cast to: only the device changes
        def move(x: Tensor) -> Tensor:
            moved = fn(x)
            return moved if moved.dtype == x.dtype else x.to(moved.device)

        was_meta, emptied = self.device.type == "meta", "to_empty" in getattr(fn, "__qualname__", "")
        kwargs.pop("recurse", None)  # Module.to_empty passes it, torchmetrics does not know it
        super()._apply(move, *args, **kwargs)
        if was_meta or emptied:  # the moved tensors have no values
            self._fill_with_empty_states()
        return self

    def _fill_with_empty_states(self) -> None:
        empty: State = [] if self._part is None else self._part.empty().to(self.device)
        self._defaults[self._state_name] = empty
        setattr(self, self._state_name, list(empty) if isinstance(empty, list) else empty.clone())

    def _sync_dist(
        self, dist_sync_fn: Callable[..., list[Tensor]] = gather_all_tensors, process_group: Any = None
    ) -> None:
        # torchmetrics would stack the states of the processes, which may differ in length, and give a process with an
        # empty list a float32 tensor, which the others cannot gather
        states = dist_sync_fn(self.current_state, group=process_group or self.process_group)
        setattr(self, self._state_name, torch.cat(states) if self._part is None else self._part.merge_all(states))

    def _wrap_update(self, update: Callable[..., None]) -> Callable[..., None]:
        # torchmetrics counts a failed update, and drops the computed value
        wrapped = super()._wrap_update(update)

        @dynamo_disable
        @functools.wraps(update)
        def atomic_update(*args: Any, **kwargs: Any) -> None:
            refuse_other_names(kwargs)
            self._refuse_if_synced()
            with self.atomic():
                wrapped(*args, **kwargs)

        return atomic_update

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        # a torchmetrics metric whose compute raises stays synced, with the sum of all processes as its own state;
        # and a single row is squeezed
        wrapped = super()._wrap_compute(compute)

        @dynamo_disable
        @functools.wraps(compute)
        def unsynced_on_error(*args: Any, **kwargs: Any) -> Any:
            if self._was_captured:
                self._computed = None
                self._update_count = max(1, self._update_count)  # a replay is not counted
            self._before_compute()
            was_synced = self._is_synced
            try:
                value = wrapped(*args, **kwargs)
            except BaseException:
                if self._is_synced and not was_synced:
                    self.unsync()
                raise
            return value.flatten() if self._part is None else value

        return unsynced_on_error

"""A ``torchmetrics.Metric`` of one state: what torchmetrics does to a metric ends here.

It knows the life cycle (update, forward, sync, load, move) and not what the state means. One state makes each
step all or nothing: what can fail is done before the state is replaced, by one assignment. It also costs one
collective only.
"""

import functools
from abc import abstractmethod
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor
from torchmetrics import Metric
from torchmetrics.utilities.data import dim_zero_cat
from torchmetrics.utilities.exceptions import TorchMetricsUserError

State = Tensor | list[Tensor]


class OneStateMetric(Metric):
    """A metric whose state is one int64 tensor, joined over processes, or one list of such, concatenated.

    A tensor is replaced and never written into: under ``ddp_spawn`` the processes may share its memory.
    """

    is_differentiable = False
    full_state_update = False

    def _keep(self, name: str, empty: State, join: Callable[[Tensor], Tensor] | None = None) -> None:
        """Declare the state, and what makes one of several tensors, stacked, if it is not their sum.

        Its name must tell all that decides what a row adds to it: a ``MetricCollection`` takes metrics for the
        same when their states have the same names, and the same contents after one batch.
        """
        self._name = name
        self._join = join or functools.partial(torch.sum, dim=0)
        self.add_state(name, empty, dist_reduce_fx="cat" if isinstance(empty, list) else self._join)

    @abstractmethod
    def _evaluate(self, *args: Any, **kwargs: Any) -> Any:
        """What a batch says, whatever the state; raises on bad input. Takes what ``update`` takes."""

    @abstractmethod
    def _add(self, state: State, batch: Any) -> State:
        """The state with what ``_evaluate`` said of a batch: a new tensor, or the same list, longer."""

    @abstractmethod
    def _read(self, state: Tensor) -> Any:
        """The metric's value; lists come concatenated."""

    def _before_compute(self) -> None:
        """Called first by ``compute``."""

    @property
    def _current(self) -> Tensor:
        state: State = getattr(self, self._name)
        if isinstance(state, list):
            return dim_zero_cat(state) if state else torch.empty(0, dtype=torch.int64, device=self.device)
        return state

    def compute(self) -> Any:
        """The value over everything since the last reset, on all processes."""
        return self._read(self._current)

    def forward(self, *args: Any, **kwargs: Any) -> Any:
        """Take a batch in, as ``update`` does, and return the value over this batch alone."""
        self._refuse_if_synced()
        with self._all_or_nothing(), torch.no_grad():
            default = self._defaults[self._name]
            empty: State = [] if isinstance(default, list) else default.to(self.device)
            batch = self._add(empty, self._evaluate(*args, **kwargs))
            value = self._value_of(batch)
            self._merge(batch)
            if self.compute_on_cpu:
                self._move_list_states_to_cpu()
            self._update_count += 1
            self._computed = None
            self._forward_cache = value
        return value

    @contextmanager
    def _all_or_nothing(self) -> Iterator[None]:
        """What is begun within this and raises has not been begun."""
        state = getattr(self, self._name)
        length = len(state)
        before = self._update_count, self._computed, self._forward_cache
        try:
            yield
        except BaseException:
            if isinstance(state, list):  # which may have grown
                del state[length:]
            setattr(self, self._name, state)
            self._update_count, self._computed, self._forward_cache = before
            raise

    def _take(self, batch: Any) -> None:
        setattr(self, self._name, self._add(getattr(self, self._name), batch))

    def _merge(self, state: State) -> None:
        # a list may be shared, too: a MetricCollection lets equal metrics have one, and calls the forward of each
        own = getattr(self, self._name)
        parts = [x.to(self.device) for x in ([state] if isinstance(state, Tensor) else state)]
        merged = own + parts if isinstance(own, list) else self._join(torch.stack([own, parts[0]]))
        setattr(self, self._name, merged)

    def _value_of(self, batch: State) -> Any:
        """The value over one batch, of all processes if ``dist_sync_on_step`` is set."""
        own = getattr(self, self._name)
        if isinstance(batch, Tensor) and not self.dist_sync_on_step:
            return self._read(batch)
        try:
            setattr(self, self._name, batch)
            with self.sync_context(dist_sync_fn=self.dist_sync_fn, should_sync=self.dist_sync_on_step):
                state = self._current
        finally:
            setattr(self, self._name, own)
        return self._read(state)

    def _refuse_if_synced(self) -> None:
        if self._is_synced:
            raise TorchMetricsUserError(
                f"{type(self).__name__} shouldn't be synced when it is updated: unsync() would undo it. Unsync first."
            )

    def reset(self) -> None:
        """Forget everything seen so far."""
        if isinstance(self._defaults[self._name], list):
            setattr(self, self._name, [])  # torchmetrics would empty the old list, which others may hold
        super().reset()

    def merge_state(self, incoming_state: "dict[str, Any] | Metric") -> None:
        """Add the state of another metric of the same configuration, or a dict of its state."""
        self._refuse_if_synced()
        if not isinstance(incoming_state, Metric | dict):
            raise ValueError(
                f"merge_state needs a metric or a dict of its state, but got {type(incoming_state).__name__}."
            )
        states: dict[str, Any] = incoming_state.metric_state if isinstance(incoming_state, Metric) else incoming_state
        state = states.get(self._name)
        problem = "there is no such state" if state is None else self._unlike(state)
        if problem:
            raise ValueError(
                f"merge_state needs the state {self._name!r} of a {type(self).__name__} with the same settings, but "
                f"{problem}: the incoming states are {sorted(states)}."
            )
        with self._all_or_nothing():
            self._merge(state)  # type: ignore[arg-type]
            self._computed = None
            self._update_count += 1

    def _unlike(self, state: object) -> str:
        """What keeps a foreign state from being one of this metric's; nothing if it can be."""
        default = self._defaults[self._name]
        if isinstance(default, list):
            parts = [state] if isinstance(state, Tensor) else state
            fits = isinstance(parts, list) and all(isinstance(x, Tensor) and x.dtype == torch.int64 for x in parts)
            return "" if fits else f"it is no list of int64 tensors: {type(state).__name__}"
        if not isinstance(state, Tensor) or (state.shape, state.dtype) != (default.shape, default.dtype):
            found = f"{tuple(state.shape)} in {state.dtype}" if isinstance(state, Tensor) else type(state).__name__
            return f"it should be {tuple(default.shape)} in {default.dtype} and is {found}"
        return ""

    def _load_from_state_dict(self, state_dict: dict[str, Any], prefix: str, *args: Any) -> None:
        # torchmetrics takes whatever it finds, keeps a value computed before, and warns of a missing update
        _, strict, missing_keys, _, error_msgs = args
        name = prefix + self._name
        if strict and self._persistent[self._name] and name not in state_dict:
            missing_keys.append(name)  # torchmetrics would go on from nothing
        if name in state_dict:
            state = state_dict[name]
            if problem := self._unlike(state):
                error_msgs.append(f"{name} does not fit {type(self).__name__}: {problem}.")
                return
            if isinstance(self._defaults[self._name], list):
                state_dict[name] = list(state) if isinstance(state, list) else [state]  # ours to append to
            self._computed = None
            self._update_count = max(1, self._update_count)
        super()._load_from_state_dict(state_dict, prefix, *args)

    def _apply(self, fn: Callable[[Tensor], Tensor], exclude_state: Sequence[str] = ()) -> torch.nn.Module:
        # integers and float64 values keep their dtype, whatever a model is cast to: only the device changes
        def move(x: Tensor) -> Tensor:
            moved = fn(x)
            return moved if moved.dtype == x.dtype else x.to(moved.device)

        return super()._apply(move, exclude_state)

    def _sync_dist(self, *args: Any, **kwargs: Any) -> None:
        # torchmetrics gives a process with an empty list a float32 tensor, which the others cannot gather
        if isinstance(getattr(self, self._name), list):
            setattr(self, self._name, [self._current])
        super()._sync_dist(*args, **kwargs)

    def _wrap_update(self, update: Callable[..., None]) -> Callable[..., None]:
        # a failed update was none: torchmetrics has counted it by then, and dropped the computed value
        wrapped = super()._wrap_update(update)

        @functools.wraps(update)
        def undone_on_error(*args: Any, **kwargs: Any) -> None:
            self._refuse_if_synced()
            with self._all_or_nothing():
                wrapped(*args, **kwargs)

        return undone_on_error

    def _wrap_compute(self, compute: Callable[..., Any]) -> Callable[..., Any]:
        # a torchmetrics metric whose compute raises stays synced, with the sum of all processes for its own state;
        # and of rows, one is squeezed
        wrapped = super()._wrap_compute(compute)

        @functools.wraps(compute)
        def unsynced_on_error(*args: Any, **kwargs: Any) -> Any:
            self._before_compute()
            was_synced = self._is_synced
            try:
                value = wrapped(*args, **kwargs)
            except BaseException:
                if self._is_synced and not was_synced:
                    self.unsync()
                raise
            return value.flatten() if isinstance(self._defaults[self._name], list) else value  # one row is a row

        return unsynced_on_error

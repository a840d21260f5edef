"""A pool of processes that form a gloo process group, run functions and return their results."""

import contextlib
import os
import pickle
import queue
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

TIMEOUT = 60  # seconds after which a job, or the start of the processes, counts as hung


class ProcessPool:
    """One process per rank. A job is a function of a module, since it is pickled by name."""

    def __init__(self, size: int, store: Path) -> None:
        self.size = size
        self._store, self._groups = store, 0
        context = mp.get_context("spawn")
        self._jobs = [context.Queue() for _ in range(size)]
        self._answers = context.Queue()
        self._processes = [
            context.Process(target=_serve, args=(rank, size, str(store), self._jobs[rank], self._answers), daemon=True)
            for rank in range(size)
        ]
        for process in self._processes:
            process.start()
        try:
            self._collect()  # wait until all have started
        except BaseException:
            self.stop()
            raise

    def resize(self, size: int) -> None:
        """Let the first ``size`` processes form the process group; the others are idle."""
        self.size, self._groups = len(self._processes), self._groups + 1
        store = f"{self._store}{self._groups}"
        self.run(_enter, list(range(self.size)), [size] * self.size, [store] * self.size)
        self.size = size

    def run(self, job: Callable[..., Any], *args: list[Any]) -> list[Any]:
        """Call the job on every rank and return the results; each list holds one argument for each rank.

        Tensors in arguments lie in shared memory, as under ``ddp_spawn``; results are copies.
        """
        if not all(process.is_alive() for process in self._processes):
            raise RuntimeError("a process died in an earlier job")
        for jobs, arguments in zip(self._jobs[: self.size], zip(*args, strict=True), strict=True):
            jobs.put((job, arguments))
        try:
            return self._collect()
        except TimeoutError:
            self.stop()  # the ranks can no longer be brought into step
            raise

    def _collect(self) -> list[Any]:
        results: dict[int, Any] = {}
        errors: list[str] = []
        for _ in range(self.size):
            try:
                rank, result, error = pickle.loads(self._answers.get(timeout=TIMEOUT))
            except queue.Empty:
                raise TimeoutError(f"ranks hang: only {sorted(results)} answered, with errors {errors}") from None
            results[rank] = result
            errors += [f"rank {rank}: {error}"] if error else []
        if errors:
            raise AssertionError("\n".join(errors))
        return [results[rank] for rank in range(self.size)]

    def stop(self) -> None:
        for process in self._processes:
            process.kill()  # faster than waiting for a regular exit
        for process in self._processes:
            process.join()


@contextlib.contextmanager
def process_pool(size: int, folder: Path) -> Iterator[ProcessPool]:
    pool = ProcessPool(size, folder / "store")
    try:
        yield pool
    finally:
        pool.stop()


def _enter(rank: int, size: int, store: str) -> None:
    """Leave the process group, if any, and join the new one if this rank belongs to it."""
    if dist.is_initialized():
        dist.destroy_process_group()
    if rank < size:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)


def _received(jobs: Any) -> Iterator[tuple[Callable[..., Any], tuple[Any, ...]]]:
    """Jobs in the order of arrival, until the parent process ends."""
    parent = mp.parent_process()
    while parent is not None and parent.is_alive():
        with contextlib.suppress(queue.Empty):
            yield jobs.get(timeout=TIMEOUT)


def _serve(rank: int, size: int, store: str, jobs: Any, answers: Any) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    _enter(rank, size, store)
    answers.put(pickle.dumps((rank, None, None)))
    answer: tuple[int, Any, str | None]
    for function, arguments in _received(jobs):
        try:
            answer = rank, function(*arguments), None
        except Exception:
            answer = rank, None, traceback.format_exc()
        answers.put(pickle.dumps(answer))  # otherwise tensors would be sent as handles to shared memory

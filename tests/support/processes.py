"""Real processes that talk over gloo: started once, they take jobs and hand back results."""

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

TIMEOUT = 60  # seconds until a job, or the start of the processes, counts as hung


class Ranks:
    """A pool of processes, one a rank. A job is a function of a module: it goes by name."""

    def __init__(self, size: int, store: Path) -> None:
        self.size = size
        self._store, self._worlds = store, 0
        context = mp.get_context("spawn")
        self._jobs = [context.Queue() for _ in range(size)]
        self._answers = context.Queue()
        self._processes = [
            context.Process(target=_work, args=(rank, size, str(store), self._jobs[rank], self._answers), daemon=True)
            for rank in range(size)
        ]
        for process in self._processes:
            process.start()
        try:
            self._collect()  # all are there
        except BaseException:
            self.stop()
            raise

    def resize(self, size: int) -> None:
        """From now on the first processes are the world, and the others wait outside it."""
        self.size, self._worlds = len(self._processes), self._worlds + 1
        store = f"{self._store}{self._worlds}"
        self.run(_enter, list(range(self.size)), [size] * self.size, [store] * self.size)
        self.size = size

    def run(self, job: Callable[..., Any], *args: list[Any]) -> list[Any]:
        """The results of ``job(*arguments)`` on each rank; of each list of arguments, a rank gets its own.

        What is handed in lies in memory that the ranks share, as under ``ddp_spawn``; what comes back is a copy.
        """
        if not all(process.is_alive() for process in self._processes):
            raise RuntimeError("a rank has died in an earlier job")
        for jobs, arguments in zip(self._jobs[: self.size], zip(*args, strict=True), strict=True):
            jobs.put((job, arguments))
        try:
            return self._collect()
        except TimeoutError:
            self.stop()  # the ranks are out of step for good
            raise

    def _collect(self) -> list[Any]:
        results, errors = {}, []
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
            process.kill()  # it holds nothing that is worth the wait for its end
        for process in self._processes:
            process.join()


@contextlib.contextmanager
def ranks(size: int, folder: Path) -> Iterator[Ranks]:
    pool = Ranks(size, folder / "store")
    try:
        yield pool
    finally:
        pool.stop()


def _enter(rank: int, size: int, store: str) -> None:
    """Leave the world, if there is one, and enter a new one, if there is room."""
    if dist.is_initialized():
        dist.destroy_process_group()
    if rank < size:
        dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size)


def _jobs(jobs: Any) -> Iterator[tuple[Callable[..., Any], tuple[Any, ...]]]:
    """The jobs as they come; no more if the parent was killed."""
    while mp.parent_process().is_alive():
        with contextlib.suppress(queue.Empty):
            yield jobs.get(timeout=TIMEOUT)


def _work(rank: int, size: int, store: str, jobs: Any, answers: Any) -> None:
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    _enter(rank, size, store)
    answers.put(pickle.dumps((rank, None, None)))
    for function, arguments in _jobs(jobs):
        try:
            answer = rank, function(*arguments), None
        except Exception:
            answer = rank, None, traceback.format_exc()
        answers.put(pickle.dumps(answer))  # whole, not as a handle to memory of this process

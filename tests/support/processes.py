"""A pool of processes that form a gloo process group, run functions and return their results."""

import contextlib
import faulthandler
import itertools
import os
import pickle
import signal
import time
import traceback
from collections.abc import Callable, Iterator, Sequence
from datetime import timedelta
from multiprocessing.connection import Connection, wait
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist
import torch.multiprocessing as mp

TIMEOUT = 300  # seconds of a job: on a busy machine its imports alone can take a minute
GLOO_TIMEOUT = timedelta(seconds=TIMEOUT / 2)  # so that a rank that waits in vain says for what
GRACE = 5  # seconds for the other ranks after one failed: they may wait for it in vain

Answer = tuple[Any, str | None]
"""A result, or an error."""


class ProcessPool:
    """One process per rank. A job is a function of a module, since it is pickled by name.

    Processes start when a job needs them. After a job that failed the ranks may be out of step, so the next one gets
    new processes.
    """

    def __init__(self, folder: Path) -> None:
        self.size = 1
        self._folder, self._names = folder, itertools.count()
        self._processes: list[Any] = []
        self._connections: list[Connection] = []
        self._is_grouped = False

    def resize(self, size: int) -> None:
        """Let the first ``size`` processes form the process group; the others are idle."""
        self._is_grouped = self._is_grouped and size == self.size
        self.size = size

    def run(self, job: Callable[..., Any], *args: list[Any]) -> list[Any]:
        """Call the job on every rank and return the results; each list holds one argument for each rank.

        Tensors in arguments lie in shared memory, as under ``ddp_spawn``; results are copies.
        """
        if not self._is_grouped:
            self._form_group()
        return self._call(job, list(zip(range(self.size), *args, strict=True)))

    def stop(self) -> None:
        for process in self._processes:
            process.kill()  # faster than waiting for a regular exit
        for process, connection in zip(self._processes, self._connections, strict=True):
            process.join()
            connection.close()
        self._processes, self._connections, self._is_grouped = [], [], False

    def _form_group(self) -> None:
        while len(self._processes) < self.size:
            self._start(len(self._processes))
        # all of them have started after this, and none waits for another one meanwhile
        self._call(_leave, [(rank,) for rank in range(len(self._processes))])
        store = str(self._folder / f"group{next(self._names)}")
        self._call(_enter, [(rank, rank, self.size, store) for rank in range(self.size)])
        self._is_grouped = True

    def _start(self, rank: int) -> None:
        context = mp.get_context("spawn")
        connection, other = context.Pipe()
        process = context.Process(target=_serve, args=(other, self._stack(rank)), daemon=True)
        process.start()
        other.close()  # so that a process that dies closes the pipe
        self._processes.append(process)
        self._connections.append(connection)

    def _call(self, job: Callable[..., Any], calls: Sequence[tuple[Any, ...]]) -> list[Any]:
        """The results of the job; each call is the rank with the arguments."""
        try:
            for rank, *arguments in calls:
                self._connections[rank].send((job, arguments))
            answers = self._answers(len(calls))
            if errors := [f"rank {rank}: {error}" for rank, (_, error) in sorted(answers.items()) if error]:
                raise AssertionError("\n".join(errors))
        except BaseException:
            self.stop()
            raise
        return [answers[rank][0] for rank, *_ in calls]

    def _answers(self, ranks: int) -> dict[int, Answer]:
        answers: dict[int, Answer] = {}
        deadline = time.monotonic() + TIMEOUT
        while missing := {self._connections[rank]: rank for rank in range(ranks) if rank not in answers}:
            ready = wait(list(missing), max(0, deadline - time.monotonic()))
            for connection, rank in missing.items():
                if connection in ready:
                    answers[rank] = self._answer(rank)
                elif not ready:
                    answers[rank] = None, f"no answer\n{self._stack_of(rank)}"
            if any(error for _, error in answers.values()):
                deadline = min(deadline, time.monotonic() + GRACE)
        return answers

    def _answer(self, rank: int) -> Answer:
        try:
            answer: Answer = pickle.loads(self._connections[rank].recv_bytes())
        except (EOFError, ConnectionResetError):
            self._processes[rank].join()
            return None, f"died with exit code {self._processes[rank].exitcode}"
        return answer

    def _stack_of(self, rank: int) -> str:
        """Where the process is."""
        os.kill(self._processes[rank].pid, signal.SIGUSR1)
        time.sleep(0.2)
        return self._stack(rank).read_text()

    def _stack(self, rank: int) -> Path:
        """The file to which a process writes its stack when it gets the signal."""
        return self._folder / f"stack{rank}"


@contextlib.contextmanager
def process_pool(folder: Path) -> Iterator[ProcessPool]:
    pool = ProcessPool(folder)
    try:
        yield pool
    finally:
        pool.stop()


def _leave() -> None:
    if dist.is_initialized():
        dist.destroy_process_group()


def _enter(rank: int, size: int, store: str) -> None:
    dist.init_process_group("gloo", init_method=f"file://{store}", rank=rank, world_size=size, timeout=GLOO_TIMEOUT)


def _serve(jobs: Connection, stack: Path) -> None:
    """Do jobs in the order of arrival, until the parent process ends."""
    torch.set_num_threads(1)
    os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")
    with stack.open("w") as file, contextlib.suppress(EOFError):
        faulthandler.register(signal.SIGUSR1, file)
        while True:
            function, arguments = jobs.recv()
            try:
                answer: Answer = function(*arguments), None
            except Exception:
                answer = None, traceback.format_exc()
            jobs.send_bytes(pickle.dumps(answer))  # otherwise tensors would be sent as handles to shared memory

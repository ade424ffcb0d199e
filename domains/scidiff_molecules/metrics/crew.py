"""Worker processes: plain interpreters that are told what to do by lines of JSON. Nothing is pickled, no script needs a guard.

A process that dies (a chemistry library crashes) or that answers nothing for too long costs only the molecule it was at: the rest of its
chunk is done again, one by one, by a new process, and the molecule's answer is a :class:`Lost` with the reason. Answers come in the
order of the chunks, so they do not depend on the number of processes; nor do they if there is none and all is done here.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import tempfile
import threading
from collections import deque
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from dataclasses import dataclass
from queue import SimpleQueue
from types import TracebackType
from typing import IO, Any

from scidiff.errors import UserError
from scidiff_molecules.metrics.payload import Payload
from scidiff_molecules.metrics.worker import perform

_AHEAD = 4  # chunks that each process may be ahead of the one that is waited for: bounds the memory

PROGRAM = "from scidiff_molecules.metrics.worker import main; main()"


@dataclass(frozen=True)
class Lost:
    """No answer for a molecule, and why."""

    reason: str


@dataclass(frozen=True)
class Chunk:
    """Molecules that are sent together; ``context`` comes back with the answers."""

    payloads: Sequence[Payload]
    options: Mapping[str, Any]
    context: Any = None


class _Refused(Exception):
    """A chunk was not answered; says why, of the molecule if there is but one."""


class _Process:
    """One worker; started when it is first asked, and again after it died."""

    def __init__(self, patience: float | int) -> None:
        self._patience = patience
        self._running: subprocess.Popen[str] | None = None
        self._said: IO[bytes] | None = None
        self._ending = threading.Lock()

    def ask(self, name: str, chunk: Chunk) -> list[Any]:
        """Raises _Refused when no answer comes; then the process is gone, or raised an error."""
        running = self._running or self._start()
        task = {"task": name, "payloads": list(chunk.payloads), "options": dict(chunk.options)}
        line = self._exchange(running, json.dumps(task))
        answer = json.loads(line)
        if "error" in answer:
            raise _Refused(f"the judge failed on it: {answer['error']}")
        return answer["answers"]

    def _start(self, *, again: bool = True) -> subprocess.Popen[str]:
        """Raises UserError for a process that does not start; one that is killed on its way is started ``again``, once."""
        path = os.pathsep.join(p or os.getcwd() for p in sys.path)
        env = os.environ | {"PYTHONPATH": path, "OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "MKL_NUM_THREADS": "1"}
        call = [sys.executable, "-c", PROGRAM]
        said = tempfile.TemporaryFile()  # noqa: SIM115 - a file, as a full pipe would stop its writer; closed by end()
        pipe = subprocess.PIPE
        running = subprocess.Popen(call, stdin=pipe, stdout=pipe, stderr=said, text=True, encoding="utf-8", env=env)
        self._running, self._said = running, said
        assert running.stdout is not None
        if running.stdout.readline():
            return running
        code = running.wait()
        said.seek(0)
        last = said.read().decode(errors="replace").strip().splitlines()[-1:]
        self.end()
        if code < 0 and again:
            return self._start(again=False)
        why = (last or [_cause(code)])[0]
        raise UserError(f"a process that judges molecules did not start ({why}); try workers=0")

    def _exchange(self, running: subprocess.Popen[str], text: str) -> str:
        assert running.stdin is not None
        assert running.stdout is not None
        late = threading.Event()

        def end() -> None:
            late.set()
            running.kill()

        timer = threading.Timer(self._patience, end)
        timer.daemon = True
        timer.start()
        try:
            print(text, file=running.stdin, flush=True)
            line = running.stdout.readline()
        except OSError:  # it died while it was written to
            line = ""
        finally:
            timer.cancel()
        if line.endswith("\n"):
            return line
        code = running.wait()
        self.end()
        slow = f"the judge took more than {self._patience:g} s on it"
        raise _Refused(slow if late.is_set() else f"the judge died on it ({_cause(code)})")

    def end(self) -> None:
        """End the process, if one runs; from any thread."""
        with self._ending:
            if self._running is not None:
                self._running.kill()
                for stream in (self._running.stdin, self._running.stdout):
                    if stream is not None:
                        with suppress(OSError):  # what was left to write has no reader
                            stream.close()
                self._running.wait()
            if self._said is not None:
                self._said.close()
            self._running = self._said = None


def _cause(code: int) -> str:
    try:
        return signal.Signals(-code).name if code < 0 else f"exit code {code}"
    except ValueError:
        return f"signal {-code}"


class Crew:
    """Processes that work through chunks; a context manager that leaves none behind.

    Args:
        workers: how many; 0: the work is done in this process, where nothing protects from a crash or a hang.
        patience: seconds that a chunk, and then a molecule alone, may take.
    """

    def __init__(self, workers: int, patience: float | int) -> None:
        self._processes = [_Process(patience) for _ in range(workers)]
        self._idle: SimpleQueue[_Process] = SimpleQueue()
        for process in self._processes:
            self._idle.put(process)
        self._closed = threading.Event()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self._closed.set()
        for process in self._processes:
            process.end()

    def run(self, name: str, chunks: Iterable[Chunk]) -> Iterator[tuple[Chunk, list[Any]]]:
        """Each chunk and its answers (an answer may be :class:`Lost`), in order.

        Raises:
            UserError: a process cannot be started.
        """
        if not self._processes:
            for chunk in chunks:
                yield chunk, self._split(_here, name, chunk)
            return
        waiting: deque[tuple[Chunk, Future[list[Any]]]] = deque()
        with ThreadPoolExecutor(len(self._processes)) as pool:
            try:
                for chunk in chunks:
                    waiting.append((chunk, pool.submit(self._do, name, chunk)))
                    if len(waiting) >= _AHEAD * len(self._processes):
                        done, answers = waiting.popleft()
                        yield done, answers.result()
                while waiting:
                    done, answers = waiting.popleft()
                    yield done, answers.result()
            except BaseException:  # interrupted, or not read to the end: what runs is ended, what waits is dropped
                self._closed.set()
                pool.shutdown(wait=False, cancel_futures=True)
                for process in self._processes:
                    process.end()
                raise

    def _do(self, name: str, chunk: Chunk) -> list[Any]:
        process = self._idle.get()
        try:
            return self._split(process.ask, name, chunk)
        finally:
            self._idle.put(process)

    def _split(self, ask: Any, name: str, chunk: Chunk) -> list[Any]:
        """The chunk at once; if that is refused, each molecule alone."""
        try:
            return ask(name, chunk)
        except _Refused as refusal:
            if self._closed.is_set() or len(chunk.payloads) == 1:
                return [Lost(str(refusal))] * len(chunk.payloads)
        first = chunk.options.get("first", 0)
        return [
            answer
            for k, payload in enumerate(chunk.payloads)
            for answer in self._split(ask, name, Chunk([payload], {**chunk.options, "first": first + k}))
        ]


def _here(name: str, chunk: Chunk) -> list[Any]:
    try:
        return perform(name, chunk.payloads, chunk.options)
    except Exception as error:
        raise _Refused(f"the judge failed on it: {type(error).__name__}: {error}".strip()[:330]) from None

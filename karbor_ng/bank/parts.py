# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Parts: a source, cut by a thread that is one part ahead of the writer.

Reading the source, with all that it computes on the way, takes about as long
as storing what was read. One after the other they would take the sum.
"""

from concurrent import futures
import contextlib
import io
import queue
import threading

from oslo_utils import units

from karbor_ng import context

#: Parts in memory at once: one that is being stored, one that is filled.
AT_ONCE = 2
#: Seconds between two checks while the source gives nothing.
CHECK_SECONDS = 1
#: Files are read in pieces of so many bytes.
_PIECE = units.Mi


class Parts:
    """The parts of a source, to be iterated over once, in a ``with``.

    Whoever iterates must drop a part before asking for the next one. What
    the source raises is raised at the end of the parts that came before it.
    Leaving the ``with`` early lets the source be, as soon as it gives
    something.

    :param source: an iterable of bytes, or an object with ``read``; it is
        used by another thread
    :param size: bytes of a part; the last one may be smaller
    :param check: called before each part, and every now and then while there
        is none; what it raises ends the iteration
    """

    def __init__(self, source, size, check=None):
        self._source = source
        self._size = size
        self._check = check
        self._free = threading.Semaphore(AT_ONCE)
        self._ready = queue.SimpleQueue()
        self._stopped = threading.Event()
        self._pool = futures.ThreadPoolExecutor(
            1, thread_name_prefix='stream')

    def __enter__(self):
        self._reading = self._pool.submit(
            context.carried(self._read))
        return self

    def __exit__(self, *_problem):
        self._stopped.set()
        self._free.release()
        self._pool.shutdown(wait=False)

    def __iter__(self):
        while (data := self._next()) is not None:
            yield data
            del data
            self._free.release()
        self._reading.result()

    def _next(self):
        while True:
            if self._check is not None:
                self._check()
            with contextlib.suppress(queue.Empty):
                return self._ready.get(timeout=CHECK_SECONDS)

    # In the other thread

    def _read(self):
        try:
            with _chunks(self._source) as chunks:
                self._cut(chunks)
        finally:
            self._ready.put(None)

    def _cut(self, chunks):
        part = None
        for chunk in chunks:
            rest = memoryview(chunk)
            while rest:
                part = part or self._new_part()
                if self._stopped.is_set():
                    return
                taken = rest[:self._size - part.tell()]
                part.write(taken)
                rest = rest[len(taken):]
                if part.tell() == self._size:
                    self._ready.put(part.getvalue())
                    part = None
        if part is not None:
            part.truncate()
            self._ready.put(part.getvalue())

    def _new_part(self):
        """Return a buffer that will give its bytes away without a copy.

        Of its full size at once: what grows bit by bit lies where the C
        library keeps it for the thread, and services grew with each stream.
        """
        self._free.acquire()
        part = io.BytesIO()
        part.seek(self._size - 1)
        part.write(b'\0')
        part.seek(0)
        return part


@contextlib.contextmanager
def _chunks(source):
    if hasattr(source, 'read'):
        yield iter(lambda: source.read(_PIECE), b'')
        return
    try:
        yield source
    finally:
        # A generator may have a connection open.
        if hasattr(source, 'close'):
            source.close()

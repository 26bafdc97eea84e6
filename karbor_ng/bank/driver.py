# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The contract between the bank and the places where its bytes lie.

Separate from the bank so that a new place is one file and one entry point.
``karbor_ng/tests/contracts/bank.py`` holds every driver to each sentence of
this file.
"""

import abc

from karbor_ng import errors


class Interrupted(errors.BankError):
    """A failure that may be gone a moment later: trying again can help.

    Drivers raise it and never try again themselves; the one loop that does
    is in ``wrap.py``.

    :ivar retry_after: seconds for which the place wants to be left alone;
        None where it did not say so
    """

    def __init__(self, *words, retry_after=None):
        super().__init__(*words)
        self.retry_after = retry_after


class BankDriver(abc.ABC):
    """Keeps bytes under keys. Made once for each provider, shared by threads.

    **Keys** are text that follows the rules of ``bank.check_key``; a driver
    may rely on them. Keys are compared as their UTF-8 bytes. No key may be
    the beginning of another one's path (``a`` and ``a/b``): a driver may
    refuse the second of them with :class:`errors.BankError`.

    **Atomic:** a reader gets all bytes of one put or none of them, whoever
    writes or is killed in the meantime. When a put has returned, its bytes
    survive the death of the process and, as far as the place promises it,
    of the machine.

    **Errors:** :class:`errors.NotFound`, :class:`errors.Exists` and
    :class:`errors.BankError`, of which :class:`Interrupted` is the kind that
    may be tried again. Each names the key. Nothing else leaves a driver,
    neither an OSError nor what a client library raises.

    :cvar KIND: one word for what it is, shown with the provider. Only bank
        drivers have one: it tells them from the protections, with which they
        share the entry point namespace ``karbor.protections``.
    :cvar OPTS: ``[(group, [oslo.config options])]`` of the provider file
    :ivar retry_attempts: how often a call is repeated that was interrupted
    :ivar retry_backoff: seconds before the first repetition; each later
        pause is twice as long
    """

    KIND: str
    #: Seconds after which a put with ``if_absent`` that lost against another
    #: one of the same moment can not be read any more; 0 where that can
    #: never be read.
    SETTLE_SECONDS = 0
    OPTS: list = []
    retry_attempts = 3
    retry_backoff = 1.0

    def __init__(self, conf):
        """Take options from ``conf``, the provider file's own ConfigOpts.

        Nothing is contacted or created yet.

        :raises errors.ConfigError: an option is missing; names it
        """
        for group, options in self.OPTS:
            conf.register_opts(options, group=group)
        self.conf = conf

    @abc.abstractmethod
    def put(self, key, data, if_absent=False):
        """Store ``data`` (bytes) under ``key``, instead of what was there.

        :param if_absent: store only if nothing is there. Of several such
            puts of different data at the same time exactly one succeeds; it
            is meant for small objects.
        :raises errors.Exists: ``if_absent``, and something is there
        """

    @abc.abstractmethod
    def get(self, key):
        """Return the bytes under ``key``.

        :raises errors.NotFound: nothing is there
        """

    @abc.abstractmethod
    def list(self, prefix, after=None, limit=1000):
        """Return keys that start with ``prefix``, in the order of their bytes.

        :param prefix: any beginning of a key, '' for all keys
        :param after: only keys that come after this one, which need not
            exist
        :param limit: at most so many. There may be fewer although more
            follow; only an empty page is the end.

        There may be names among them that break the key rules, where others
        write to the same place. A key whose put has returned, and that was
        not deleted since, is listed; a place that can not promise that says
        so in its driver's docstring.
        """

    @abc.abstractmethod
    def delete(self, key):
        """Remove ``key``; that nothing is there is success."""

    def age(self, key):
        """Return how many seconds ago ``key`` was put, by the place's clock.

        None where that can not be told: operators' tools then remove nothing
        that nobody knows of, because it may be in the making.

        :raises errors.NotFound: nothing is there
        """
        return None

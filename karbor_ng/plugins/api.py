# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The plugin contract: the only import of ours that a plugin needs.

A *protectable* knows what of a type there is; a *protection* knows how to
protect, restore and delete it. One file with both and one entry point each
(``karbor.protectables``, ``karbor.protections``) adds a type of resource.

Everything a plugin does may be done twice: a worker can die at any line and
another one then runs the unfinished hook again, with a fresh object. What
must not happen twice is therefore created through :meth:`Operation.once`.

That a hook has ended, and what it saved, is written down before anything else
is asked of a cloud, through :attr:`Operation.session`, that changes something
there, before anything is created or removed, and after about a second in any
case. A hook that has ended can run again until then: a plugin that reaches
something in another way must bear that.
"""

import abc
import dataclasses
import random
import time

from karbor_ng import errors
from karbor_ng.resource import Resource  # noqa: F401  (part of the contract)

#: The hooks of an operation in the order in which one resource meets them.
HOOKS = ('on_prepare_begin', 'on_prepare_finish', 'on_main', 'on_complete')


class Protectable(abc.ABC):
    """Tells which resources of one type exist, and who depends on whom.

    Stateless: one object serves all requests of all projects, so nothing of
    a request may be kept on it. Every verb works with the rights of the
    ``session`` (a keystoneauth adapter source) that it is handed.
    """

    #: The type it speaks of, such as ``OS::Cinder::Volume``.
    resource_type: str
    #: Types whose resources can have resources of this type as children.
    parent_types: tuple[str, ...] = ()

    @abc.abstractmethod
    def list(self, session, *, project_id, marker=None, limit=None,
             filters=None):
        """Return the project's resources that can be protected, as a list.

        :param marker: id of the last resource of the previous page
        :param limit: at most so many; None for all
        :param filters: dict of ``name`` and ``status``, exact values; what
            else a caller may ask is refused before it comes here
        """

    @abc.abstractmethod
    def show(self, session, resource_id, parameters=None):
        """Return one resource, or None when it is not there for the caller.

        A resource in a state that can not be protected is returned all the
        same: protecting it will say what is wrong.
        """

    @abc.abstractmethod
    def children(self, session, parents):
        """Return ``{parent: [resources of this type]}`` for all parents.

        :param parents: resources of this protectable's ``parent_types``;
            asked for together, so that a thousand of them cost a few calls.
            Parents without children may be left out of the answer.

        A failing call must raise: a smaller backup than the user believes
        to have is worse than none.
        """


class Kind(abc.ABC):
    """One kind of thing that a plugin creates in a cloud.

    Every thing carries a *tag*, a UUID that is unique for the operation,
    the resource and the label, put where the cloud can find it again.
    """

    #: What the journal calls it, such as ``backup``; unique in the plugin.
    name: str
    #: The service that has it, such as ``cinder``.
    service: str
    #: Needed only while the operation runs: removed at its end, however
    #: it ends.
    temporary = False

    @abc.abstractmethod
    def find(self, session, tag, resource):
        """Return the ids of all living things with this tag, oldest first.

        ``resource`` is the protected resource, which often narrows the
        search. There can be more than one: a creation whose answer was lost
        may have been repeated.
        """

    @abc.abstractmethod
    def remove(self, session, external_id):
        """Ask the cloud to remove the thing; return True once it is gone.

        Called again, with pauses, until it returns True. A thing that is
        already gone is success. Raise :class:`errors.ResourceError` with the
        cloud's words when it can never succeed.
        """

    def survey(self, session):
        """Return ``{id: tag}`` of all living things that have a tag.

        Operators compare it with the journal. It covers all projects for an
        admin's session, and the session's own for others. None, where it can
        not be told, or is of no use: what restores make belongs to users.
        """
        return None


@dataclasses.dataclass(frozen=True)
class External:
    """A thing in a cloud that exists because of us, as the journal has it.

    :ivar external_id: the cloud's id, or None while only intended
    :ivar state: ``intended``, ``exists`` or ``gone``
    """

    id: str
    resource_type: str
    resource_id: str
    label: str
    tag: str
    service: str
    kind: str
    external_id: str | None
    state: str


@dataclasses.dataclass(frozen=True)
class Stream:
    """Data of a resource that lies in the bank.

    :ivar id: the stream's own UUID, in the keys of its parts
    :ivar size: in bytes
    :ivar sha256: of the whole, in hexadecimal digits
    """

    id: str
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class Preview:
    """What would be done with one resource, as far as it can be known.

    :ivar action: one sentence for people, such as "Backed up by Cinder."
    :ivar size: estimated bytes of data, None where nobody can tell
    :ivar problems: why it would fail; empty when it would not
    :ivar notes: what would be different afterwards
    :ivar not_included: what of the resource would not be there
    :ivar skipped: what :class:`errors.Skipped` would say; the frame knows
        whether that fails the resource or only leaves it out
    """

    action: str
    size: int | None = None
    problems: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    not_included: tuple[str, ...] = ()
    skipped: str | None = None


@dataclasses.dataclass(frozen=True)
class Adopted:
    """What a plugin makes of what Karbor kept of a resource.

    :ivar saved: as a protect operation would have left it
    :ivar things: what exists in clouds: label, name of the kind, id of each
    :ivar stream: label of the stream that Karbor's chunks become, if any
    :ivar chunks: how many there are
    :ivar md5: of all of them together, in hexadecimal digits
    """

    saved: dict
    things: tuple[tuple[str, str, str], ...] = ()
    stream: str | None = None
    chunks: int = 0
    md5: str | None = None


class Operation:
    """What is done with one resource; all four hooks are optional.

    Over a graph the frame runs ``on_prepare_begin`` of a parent before its
    children's, ``on_prepare_finish`` after all its children's,
    ``on_main`` after the own ``on_prepare_finish`` and in no order among
    resources, and ``on_complete`` after the own ``on_main`` and all
    children's ``on_complete``. In a protect operation all prepare hooks of
    the whole graph run before the first ``on_main``, so that what is
    frozen there is frozen close to one instant.

    When somebody aborts the operation, whatever waits in a hook raises, and
    no further hook is called but ``on_prepare_finish``, which ends what was
    begun, without waiting.

    A hook that raises fails its resource (and the parents, which can not be
    complete without it), never the siblings. With :class:`errors.Skipped`
    a resource that nobody asked for but a container, such as a project, is
    only left out of the checkpoint, with the reason: none of its hooks runs
    any more, and what it has made is removed. In a restore this goes for
    all that the plan does not name; parents find it missing in
    :attr:`restored`, and raise if they can not do without it. When
    verifying, it says that a restore would do so. Objects are new for each
    hook: what a later hook needs goes into :attr:`saved`.

    A hook that verifies raises what it finds to be wrong; the data in the
    bank is read by the frame. What it makes is removed at the end.

    :ivar plugin: the :class:`Protection` (its ``conf`` has the options)
    :ivar resource: the :class:`Resource` this is about
    :ivar parameters: dict, valid against the schema, defaults applied
    :ivar session: keystoneauth session with the user's rights, or None
        where the deployment has no cloud; while restoring it can be one of
        another project, or another cloud
    :ivar bank: the resource's own section of the bank: write data there
        while protecting, read it while restoring and verifying
    :ivar saved: dict of JSON values: written with the end of each hook,
        put into the manifest, and there again when restoring and deleting.
        Some keys mean something to the frame: ``size`` (bytes of backup),
        ``backup_id`` (of what lies in the cloud and not in the bank, so
        that it can only be restored where it is), ``parent_backup`` and
        ``chain_id`` (how backups build on each other), and what
        :meth:`note`, :meth:`leave_out` and :meth:`put_stream` keep there
        under ``notes``, ``not_included`` and ``streams``
    :ivar restored: while restoring, ``{original id: new id}`` of the
        resources that are restored by now (children are, in
        ``on_complete``)
    :ivar externals: what exists because of this resource, oldest first:
        the operation's own things; when deleting or verifying, those of the
        protect operation
    :ivar checkpoint_id: the checkpoint
    :ivar operation_id: the running operation
    :ivar project_id: the project that owns the checkpoint
    """

    def __init__(self, work):
        self._work = work
        self.plugin = work.plugin
        self.resource = work.resource
        self.parameters = work.parameters
        self.session = work.session
        self.bank = work.bank
        self.saved = work.saved
        self.restored = work.restored
        self.checkpoint_id = work.checkpoint_id
        self.operation_id = work.operation_id
        self.project_id = work.project_id

    def on_prepare_begin(self):
        """Get ready, parents first: quiesce here."""

    def on_prepare_finish(self):
        """Freeze, children first: take snapshots and lift a quiesce here."""

    def on_main(self):
        """Do the heavy work."""

    def on_complete(self):
        """Finish what needs the children to be finished."""

    @property
    def externals(self):
        return self._work.externals()

    def once(self, label, create, kind):
        """Create a thing in a cloud exactly once; return its id.

        The intention is journalled first, then ``create(tag)`` is called,
        which must put the tag on the thing and return the cloud's id, which
        is journalled in turn. After a lost attempt, and when ``create``
        raises (its answer may have been lost on the way), what carries the
        tag is adopted instead of created again.

        :param label: unique within the resource's operation
        :param kind: the :class:`Kind` instance that finds and removes it
        """
        return self._work.once(label, create, kind)

    def discard(self, external):
        """Remove a thing and wait until it is gone; twice is harmless.

        :param external: an :class:`External`, or the label of an own one
        :raises errors.ResourceError: the cloud refuses to remove it
        """
        self._work.discard(external)

    def restored_as(self, new_id):
        """Say under which id the resource lives after the restore."""
        self._work.restored_as(new_id)

    def note(self, text):
        """Tell the user something that is no failure; twice is once.

        Shown with a resource that ended well, as its reason.
        """
        self._keep('notes', text)

    def leave_out(self, text):
        """Tell the user what is not in the backup, and why; twice is once.

        Shown with the checkpoint's resource, and again when it is restored.
        """
        self._keep('not_included', text)

    def _keep(self, name, text):
        texts = self.saved.setdefault(name, [])
        if text not in texts:
            texts.append(text)

    def seal(self, text):
        """Return a secret as a text that may lie in the bank.

        :raises errors.ResourceError: the deployment has no keys
        """
        return self._work.seal(text)

    def unseal(self, text):
        """Return what :meth:`seal` was given.

        :raises errors.ResourceError: none of the deployment's keys fits
        """
        return self._work.unseal(text)

    # Data in the bank

    def put_stream(self, label, source, size=None, identity=None):
        """Store data in the bank, in parts; return its :class:`Stream`.

        Never holds more than a few parts in memory. After a lost attempt
        only parts are written that are not there yet. Reports progress
        when ``size`` is given.

        :param label: unique within the resource's operation; the same one
            is read with when restoring
        :param source: callable that returns an iterable of bytes; called
            again when reading was interrupted, and not at all when the
            bank has the data. What it raises fails the stream, so this is
            the place to compare checksums.
        :param size: expected bytes, for progress
        :param identity: text that is the same only for the same data, such
            as a hash. What the project has in this bank of this resource
            under this identity is not stored again: checkpoints share it,
            and the last one that is deleted takes it with it.
        """
        return self._work.put_stream(label, source, size, identity)

    def get_stream(self, label):
        """Yield the bytes of a stream, each part checked before.

        :raises errors.BankError: something is missing or damaged; when the
            end was reached without it, all of it was right
        """
        return self._work.get_stream(label)

    # Waiting

    def progress(self, done, total):
        """Tell people how far the work on this resource is."""
        self._work.progress(done, total)

    def wait(self, poll, until, failed=(), timeout=None,
             status=lambda polled: polled.status, reason=None):
        """Poll until a status is reached; return what was polled last.

        Polls at once, then from one second on with growing, jittered pauses
        up to the plugin's ``poll_interval``. A status that is neither in
        ``until`` nor in ``failed`` keeps it waiting until the deadline, and
        so does, for some minutes, a cloud that answers with passing errors.

        :param poll: called without arguments
        :param until: statuses that end the wait well
        :param failed: statuses that end it badly
        :param timeout: seconds; the plugin's ``timeout`` option when None
        :param status: reads the status off what ``poll`` returned
        :param reason: reads the cloud's own explanation of a failure
        :raises errors.ResourceError: a failed status was reached
        :raises errors.Timeout: the deadline passed
        """
        timeout = self.plugin.timeout if timeout is None else timeout
        deadline = time.monotonic() + timeout
        pauses = _pauses(self.plugin.poll_interval)
        while True:
            self._work.check()
            polled = self._work.poll(poll)
            state = status(polled)
            if state in until:
                return polled
            if state in failed:
                raise errors.ResourceError(
                    _failure_text(state, polled, reason))
            if time.monotonic() >= deadline:
                raise errors.Timeout(
                    f'status is still "{state}" after {timeout} seconds')
            self._work.sleep(min(next(pauses),
                                 max(deadline - time.monotonic(), 0.05)))


def _pauses(longest):
    pause = min(1.0, longest)
    while True:
        yield pause * random.uniform(0.8, 1.2)  # nosec B311: only jitter
        pause = min(pause * 1.5, longest)


def _failure_text(state, polled, reason):
    said = reason(polled) if reason else None
    return f'status is "{state}"' + (f': {said}' if said else '')


class DeleteExternals(Operation):
    """Delete a resource's backup: whatever the journal says exists.

    Youngest first, because younger things build on older ones. The bank's
    objects of the resource are removed by the frame.
    """

    def on_main(self):
        for external in reversed(self.externals):
            self.discard(external)


class Protection:
    """How resources of some types are protected; one object per provider.

    An operation class that is None is a capability that is absent: requests
    that need it are refused at once.

    :cvar resource_types: the types it is for
    :cvar GROUP: the option group in the provider file
    :cvar OPTS: oslo.config options, registered in that group
    :cvar kinds: :class:`Kind` instances of everything it creates
    :cvar version: of the format of ``saved`` and of the bank data; restoring
        must understand all earlier ones
    :cvar container: True for a type that only holds others and of which
        nothing is protected itself; it has no operations
    :cvar copy_schema: options of copies; these ask no plugin: what lies in
        the bank is copied, and what a plugin keeps in a cloud refused
    :cvar leaves_out: what is never in the backup of a container, as texts
        for people
    """

    resource_types: tuple[str, ...] = ()
    GROUP: str | None = None
    OPTS: list = []
    kinds: tuple[Kind, ...] = ()
    version = '1'
    container = False
    leaves_out: tuple[str, ...] = ()

    options_schema: dict = {'type': 'object', 'properties': {}}
    saved_info_schema: dict = {'type': 'object', 'properties': {}}
    restore_schema: dict = {'type': 'object', 'properties': {}}
    verify_schema: dict = {'type': 'object', 'properties': {}}
    copy_schema: dict = {'type': 'object', 'properties': {}}

    Protect: type[Operation] | None = None
    Restore: type[Operation] | None = None
    Delete: type[Operation] | None = DeleteExternals
    Verify: type[Operation] | None = None

    def __init__(self, conf):
        """Take options from ``conf``, the provider file's own ConfigOpts."""
        if self.OPTS:
            conf.register_opts(self.OPTS, group=self.GROUP)
        self.conf = conf[self.GROUP] if self.GROUP else None

    @property
    def poll_interval(self):
        """Longest pause between two looks at a cloud, in seconds."""
        return getattr(self.conf, 'poll_interval', 15)

    @property
    def timeout(self):
        """How long one wait may last, in seconds."""
        return getattr(self.conf, 'timeout', 86400)

    def kind(self, name):
        """Return the kind of that name; KeyError when there is none."""
        return {kind.name: kind for kind in self.kinds}[name]

    @classmethod
    def preview_protect(cls, session, resources, parameters):
        """Return ``{resource: Preview}`` of protecting these resources.

        Changes nothing. Asked for all resources of the plugin together, so
        that a thousand of them cost a few calls, and with the rights of the
        caller; options of a provider file are not known here.

        :param parameters: ``{resource: its options, defaults applied}``
        """
        return {resource: Preview('Protected.') for resource in resources}

    @classmethod
    def preview_restore(cls, session, kept, parameters):
        """Return ``{resource: Preview}`` of restoring these resources.

        Like :meth:`preview_protect`.

        :param kept: ``{resource: what was saved of it}``
        """
        return {resource: Preview('Restored.') for resource in kept}

    def adopt(self, resource, metadata):
        """Return what becomes of a resource that Karbor protected.

        :param metadata: dict that Karbor's plugin kept of it
        :return: :class:`Adopted`, or None if nothing can be made of it
        """
        return None

    def conflicts(self, session, externals):
        """Return why these things can not be deleted now, as texts.

        Asked before anything of a checkpoint is deleted. What only the
        cloud knows belongs here; what our own rows know does not.
        """
        return []

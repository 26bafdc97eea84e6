# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The bank: what all drivers have in common.

Key rules, sections, JSON, streams and the marker are written here once, so
that a driver only has to move bytes, and a format, described in the
contributor manual under "Bank format", does not depend on where they lie.
"""

from concurrent import futures
import dataclasses
import datetime
import hashlib
import itertools
import json
import logging
import threading
import time
import typing
import unicodedata
import urllib.parse
import uuid

from oslo_utils import units

from karbor_ng import errors
from karbor_ng.bank import parts as parts_module
from karbor_ng.bank import wrap

LOG = logging.getLogger(__name__)

#: The format of the bank; the marker tells which one a bank has.
FORMAT = 1
MARKER = 'bank.json'
#: Streams are cut into parts of so many bytes; the last one may be smaller.
PART_SIZE = 32 * units.Mi
#: Longest component of a key, and longest key, in bytes of UTF-8.
LONGEST_COMPONENT = 255
LONGEST_KEY = 1024
#: Comes after every other component of a key.
LAST = '\U0010ffff'
#: A marker of this age, in seconds and as far as clocks agree, may still be
#: replaced by another one that was made at the same moment.
YOUNG_SECONDS = 60


@dataclasses.dataclass(frozen=True)
class ObjectInfo:
    """One object of the bank, as manifests list it.

    :ivar key: the whole key, from the bank's root
    :ivar size: in bytes
    :ivar sha256: of the bytes, 64 hexadecimal digits
    """

    key: str
    size: int
    sha256: str

    @classmethod
    def of(cls, key, data):
        """Describe ``data`` under the whole key ``key``."""
        return cls(key, len(data), hashlib.sha256(data).hexdigest())


@dataclasses.dataclass(frozen=True)
class StreamInfo:
    """A stream in the bank.

    :ivar objects: its parts (:class:`ObjectInfo`) in order
    :ivar size: of the whole, in bytes
    :ivar sha256: of the whole
    """

    objects: list[ObjectInfo]
    size: int
    sha256: str


@dataclasses.dataclass(frozen=True)
class _Marker:
    uuid: str
    created_at: datetime.datetime


class Journal(typing.Protocol):
    """Remembers the parts of one stream beyond the life of its writer."""

    def done(self) -> typing.Iterable[ObjectInfo]:
        """Return what was recorded, also by earlier writers."""

    def record(self, part: ObjectInfo) -> None:
        """Remember a part that lies in the bank; called once it does.

        A part with the same number (the last component of its key) that
        was recorded before is replaced by this one.
        """


class Section:
    """A part of the bank that begins with a prefix; keys are relative to it.

    Sections of a section share its record of what was written through it.
    Whatever fails is :class:`errors.NotFound`, :class:`errors.Exists` or
    :class:`errors.BankError` and names the whole key. May be used by many
    threads.
    """

    def __init__(self, driver, prefix, record):
        self._driver = driver
        self._prefix = prefix
        self._record = record

    def section(self, prefix):
        """Return the section below ``prefix`` (components of a key)."""
        prefix = self._key(prefix)
        return Section(self._driver, f'{prefix}/', self._record or _Record())

    def objects(self):
        """Return what was written through this section, in order of keys.

        :class:`ObjectInfo` of every object that was put and not deleted
        again, through it or a section of it, by this process.
        """
        return self._record.below(self._prefix)

    def put(self, key, data, if_absent=False):
        """Store bytes; return their :class:`ObjectInfo`.

        :raises errors.Exists: ``if_absent``, and there is something
        """
        info = ObjectInfo.of(self._key(key), data)
        self._put(info, data, if_absent)
        return info

    def get(self, key):
        """Return the bytes; :class:`errors.NotFound` when there are none."""
        return self._driver.get(self._key(key))

    def age(self, key):
        """Return the age of an object in seconds, None if unknown.

        :raises errors.NotFound: there is none
        """
        return self._driver.age(self._key(key))

    def delete(self, key):
        """Delete an object; that there is none is success."""
        self._delete(self._key(key))

    def delete_prefix(self, prefix=''):
        """Delete the object ``prefix`` and all below it; return how many.

        ``a/b`` does not touch ``a/bc``; '' is everything in the section.
        Doing it again is harmless.
        """
        count = 0
        if prefix:
            self.delete(prefix)
            prefix = f'{prefix}/'
        for key in self.keys(prefix):
            self.delete(key)
            count += 1
        return count

    def list(self, prefix='', after=None, limit=1000):
        """Return keys that start with ``prefix``, in the order of bytes.

        :param after: only keys after this one
        :param limit: at most so many; fewer only when there are no more
        """
        return list(itertools.islice(
            self._keys(prefix, after, limit), limit))

    def keys(self, prefix=''):
        """Yield all keys that start with ``prefix``, in the order of bytes.

        Reads a page at a time, so that what is deleted meanwhile may or may
        not be among them.
        """
        return self._keys(prefix, None, 1000)

    def put_json(self, key, value, if_absent=False):
        """Store a value as JSON text; return its :class:`ObjectInfo`."""
        try:
            text = json.dumps(value, sort_keys=True, ensure_ascii=False,
                              allow_nan=False)
            data = text.encode()
        except (TypeError, ValueError) as problem:
            raise errors.BankError(
                f'What should be stored as "{self._key(key)}" has no form '
                f'in JSON: {problem}.') from problem
        return self.put(key, data, if_absent)

    def get_json(self, key):
        """Return a value that was stored as JSON text."""
        try:
            return json.loads(self.get(key).decode(),
                              parse_constant=_refuse_constant)
        except (ValueError, RecursionError) as problem:
            raise errors.BankError(
                f'"{self._key(key)}" is damaged, it holds no JSON: '
                f'{problem}.') from problem

    def write_stream(self, key, source, journal=None, check=None):
        """Store a stream in parts below ``key``; return its StreamInfo.

        Holds no more than two parts in memory; one is stored while the next
        one is read. A part that is interrupted is repeated alone. With a
        journal, a later writer of the same stream reads the source again but
        stores only what the journal has not got, or what differs from it.

        :param source: an iterable of bytes, or an object with ``read``; it
            is used by another thread, and what it raises is passed on
        :param journal: a :class:`Journal`
        :param check: called before each part, and every now and then while
            the source gives nothing; what it raises is passed on
        """
        done = {_number(part.key): part
                for part in (journal.done() if journal else ())}
        whole, size, objects = hashlib.sha256(), 0, []
        with (futures.ThreadPoolExecutor(1) as beside,
              parts_module.Parts(source, PART_SIZE, check) as parts):
            for data in parts:
                hashed = beside.submit(_hash, data, whole)
                number = len(objects)
                objects.append(self._write_part(
                    self._key(f'{key}/{number:08d}'), data, hashed,
                    done.get(number), journal))
                size += len(data)
                # Not beside the next one, while that is collected.
                del data
        return StreamInfo(objects, size, whole.hexdigest())

    def read_stream(self, parts):
        """Yield the bytes of each part, checked before it is yielded.

        :param parts: :class:`ObjectInfo` in order, with whole keys
        :raises errors.BankError: a part is missing or damaged; names it
        """
        for part in parts:
            data, problem = self.examine(part)
            if problem:
                raise errors.BankError(problem)
            yield data

    def check(self, objects):
        """Read objects and compare them with what is known of them.

        :param objects: :class:`ObjectInfo` with whole keys
        :return: ``[(object, what is wrong with it)]``, empty when all is well
        """
        found = []
        for info in objects:
            _data, problem = self.examine(info)
            if problem:
                found.append((info, problem))
        return found

    def examine(self, info):
        """Return the bytes of an object, and what is wrong or None.

        :param info: an :class:`ObjectInfo` with a whole key
        :raises errors.BankError: the bank does not answer, which says
            nothing about the object
        """
        try:
            data = self._driver.get(check_key(info.key))
        except errors.NotFound:
            data = None
        return data, _compare(info, data)

    def _key(self, key):
        return check_key(f'{self._prefix}{key}')

    def _put(self, info, data, if_absent=False):
        self._driver.put(info.key, data, if_absent)
        if self._record is not None:
            self._record.add(info)

    def _delete(self, key):
        self._driver.delete(key)
        if self._record is not None:
            self._record.remove(key)

    def _write_part(self, key, data, hashed, done, journal):
        """Store a part, unless it is done; its hash is waited for last."""
        if done and (done.size, done.sha256) == (len(data), hashed.result()):
            # It may lie elsewhere, where an earlier attempt wrote.
            self._record_known(done)
            return done
        self._driver.put(key, data, False)
        part = ObjectInfo(key, len(data), hashed.result())
        self._record_known(part)
        if journal:
            journal.record(part)
        return part

    def _record_known(self, part):
        if self._record is not None:
            self._record.add(part)

    def _keys(self, prefix, after, page_size):
        first = _check_prefix(f'{self._prefix}{prefix}')
        after = None if after is None else self._key(after)
        while page := self._driver.list(first, after, page_size):
            after = page[-1]
            for key in page:
                if _rule_broken(key) is None:
                    yield key[len(self._prefix):]
                else:
                    LOG.debug('Not a key of ours in the bank: %r', key)


class Bank(Section):
    """A whole bank. One object for each provider; may be used by threads.

    :param driver: a :class:`karbor_ng.bank.driver.BankDriver`, which it
        makes patient
    """

    def __init__(self, driver):
        super().__init__(wrap.Retrying(driver), '', None)
        self.kind = driver.KIND
        #: for names that are no keys, as others wrote them to this place
        self.driver = self._driver
        self._settle_seconds = driver.SETTLE_SECONDS
        self._marker = None

    def objects(self):
        """Return nothing: only sections keep a record."""
        return []

    def delete_prefix(self, prefix=''):
        """See :meth:`Section.delete_prefix`; the whole bank is refused."""
        if not prefix:
            raise errors.BankError('The prefix to delete must not be empty.')
        return super().delete_prefix(prefix)

    def marker(self):
        """Return the bank's own UUID; the first call ever makes it.

        Two services that see the same UUID see the same bank.

        :raises errors.BankError: the bank has a format that we do not know
        """
        if self._marker is None:
            self._marker = self._settled_marker()
        return self._marker

    def has_marker(self):
        """Return whether somebody has opened this bank before."""
        return self._read_marker() is not None

    def _settled_marker(self):
        """Return what the marker is once nobody replaces it any more.

        Several services may make it at the same moment, and not every store
        decides at once whose it keeps.
        """
        found = self._read_marker() or self._make_marker()
        age = _now() - found.created_at
        if self._settle_seconds and abs(age.total_seconds()) < YOUNG_SECONDS:
            time.sleep(self._settle_seconds)
            found = self._read_marker() or self._make_marker()
        return found.uuid

    def _make_marker(self):
        try:
            self.put_json(MARKER, {
                'format': FORMAT, 'uuid': str(uuid.uuid4()),
                'created_at': _now().isoformat()}, if_absent=True)
        except errors.Exists:
            LOG.debug('Another service made the marker of the bank first')
        return self._read_marker()

    def _read_marker(self):
        try:
            marker = self.get_json(MARKER)
        except errors.NotFound:
            return None
        try:
            if marker['format'] != FORMAT:
                raise errors.BankError(
                    f'"{MARKER}" says format {marker["format"]}; this '
                    f'release knows {FORMAT}.')
            return _Marker(str(uuid.UUID(marker['uuid'])),
                           datetime.datetime.fromisoformat(
                               marker['created_at']))
        except (AttributeError, KeyError, TypeError, ValueError):
            raise errors.BankError(
                f'"{MARKER}" is damaged: it needs "format", "uuid" and '
                '"created_at".') from None


def _refuse_constant(name):
    """NaN and the like, which Python reads, are no JSON."""
    raise ValueError(f'{name} is no number')


def _now():
    return datetime.datetime.now(datetime.timezone.utc)


class _Record:
    """What was written through a section."""

    def __init__(self):
        self._lock = threading.Lock()
        self._objects = {}

    def add(self, info):
        with self._lock:
            self._objects[info.key] = info

    def remove(self, key):
        with self._lock:
            self._objects.pop(key, None)

    def below(self, prefix):
        with self._lock:
            found = list(self._objects.values())
        return sorted((info for info in found
                       if info.key.startswith(prefix)),
                      key=lambda info: info.key.encode())


def check_key(key):
    """Return ``key`` if it is a legal whole key; the one door for keys.

    :raises errors.BankError: it is not; names the rule
    """
    broken = _rule_broken(key)
    if broken:
        raise errors.BankError(f'"{key}" can not be a key: {broken}.')
    return key


def component(text):
    """Return any text as one legal component of a key.

    What is legal stays as it is, but for the percent sign; other characters
    become percent signs and hexadecimal digits, and what would be too long
    becomes a hash. Different texts give different components.
    """
    quoted = ''.join(
        character if _is_plain(character)
        else urllib.parse.quote(character, safe='', errors='surrogatepass')
        for character in text)
    if quoted.startswith('.'):
        quoted = f'%2E{quoted[1:]}'
    if quoted and len(quoted.encode()) <= LONGEST_COMPONENT:
        return quoted
    digest = hashlib.sha256(text.encode('utf-8', 'surrogatepass'))
    return f'%{digest.hexdigest()}'


def _is_plain(character):
    return character not in '/%' and not _is_illegal(character)


def _rule_broken(key):
    """Return which rule a key breaks, None for a legal one."""
    if any(_is_illegal(character) for character in key):
        return 'it has control characters, or what is no character'
    if len(key.encode()) > LONGEST_KEY:
        return f'it has more than {LONGEST_KEY} bytes'
    for part in key.split('/'):
        if not part:
            return 'it is empty, or has a slash too many'
        if part.startswith('.'):
            return 'a component starts with a dot'
        if len(part.encode()) > LONGEST_COMPONENT:
            return f'a component has more than {LONGEST_COMPONENT} bytes'
    return None


def _is_illegal(character):
    """Whether some store could not keep it: S3 lists keys in XML."""
    return (unicodedata.category(character) in ('Cc', 'Cs')
            or character in '\ufffe\uffff')


def _check_prefix(prefix):
    if prefix:
        check_key(prefix.removesuffix('/'))
    return prefix


def _compare(info, data):
    """Return how bytes differ from what is known of them, or None."""
    if data is None:
        return f'"{info.key}" is missing.'
    if len(data) != info.size:
        return (f'"{info.key}" is damaged: it has {len(data)} bytes instead '
                f'of {info.size}.')
    if hashlib.sha256(data).hexdigest() != info.sha256:
        return f'"{info.key}" is damaged: its SHA-256 is not {info.sha256}.'
    return None


def _hash(data, whole):
    """Return the SHA-256 of a part, after adding it to that of the whole."""
    whole.update(data)
    return hashlib.sha256(data).hexdigest()


def _number(key):
    return int(key.rpartition('/')[2])

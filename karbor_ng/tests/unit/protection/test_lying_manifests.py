# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Manifests that somebody has changed who can write to the bank.

Nobody may be led by them to what is another project's: neither to read it
nor to remove it.
"""

import copy
import hashlib
import json
import uuid

from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import restores
from karbor_ng.tests.unit.protection import test_bank_import

DISK = test_bank_import.DISK
SECRET = b'of another project'
CHANGED = 'somebody changed it'


class LyingTestCase(test_bank_import.ImportTestCase):
    """A disk's checkpoint, and objects of another project beside it."""

    def setUp(self):
        super().setUp()
        self.checkpoint_id = self.protect((DISK, 'd1'))
        theirs = f'checkpoints/victim/{uuid.uuid4()}'
        self.data_key = f'{theirs}/data/1/OS.Test.Disk/d9/label'
        self.stream_key = f'streams/victim/{uuid.uuid4()}/1.ab/00000000'
        self.theirs = [self.data_key, self.stream_key,
                       f'{theirs}/manifest.json']
        for key in self.theirs:
            path = self.bank_path(*key.split('/'))
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(SECRET)

    def found(self):
        return json.loads(
            self.manifest_path(self.checkpoint_id).read_text())

    def write(self, text):
        self.manifest_path(self.checkpoint_id).write_text(text)

    def name(self, key, where='OS.Test.Disk'):
        """Let the manifest name a key instead of those it has."""
        found = self.found()
        found['resources'][0]['objects'] = [{
            'key': key, 'size': len(SECRET),
            'sha256': hashlib.sha256(SECRET).hexdigest()}]
        self.write(json.dumps(found))

    def wrong_keys(self):
        """Yield keys that no manifest of this checkpoint may name."""
        own = f'checkpoints/project/{self.checkpoint_id}'
        stream_id = uuid.uuid4()
        yield from self.theirs
        yield from (
            f'{own}/data/../../../victim', f'{own}/manifest.json', own,
            f'{own}/data', f'{own}/data/', f'{own}/data//x',
            f'{own}/data/.hidden', f'{own}/data/a\n', f'{own}/data/a\0b',
            f'/{own}/data/x', f'{own}x/data/y', f'x{own}/data/y',
            f'{own}/data/a/../b', f'checkpoints/project/{uuid.uuid4()}/data/x',
            f'streams/project/{stream_id}/1.ab/../../../victim/00000000',
            f'streams/project/{stream_id}/1.ab/x',
            f'streams/project/{stream_id}/00000000',
            f'streams/project/../victim/{stream_id}/1.ab/00000000',
            f'streams/project/{stream_id}/1.ab/00000000\n',
            'streams/x', 'bank.json', '', '..', '/etc/passwd', 7, None, [],
            {'a': 1})

    def assert_untouched(self):
        for key in self.theirs:
            self.assertEqual(
                SECRET, self.bank_path(*key.split('/')).read_bytes())
        for data in self.disks.restored.values():
            self.assertNotIn(SECRET, data)


class OperationsTest(LyingTestCase):
    """The database is there; only the bank was written to."""

    def test_restore(self):
        for key in (self.data_key, self.stream_key):
            self.name(key)
            restore = self.site.restored(self.site.restore(
                self.checkpoint_id))
            self.assertEqual('failed', restore.status)
            log = self.site.db.read(operations.restore_of, restore.id)
            self.assertIn(CHANGED, log.error_info)
            self.assertEqual([], self.site.db.read(
                restores.resources, restore.id))
        self.assertEqual({}, self.disks.restored)
        self.assert_untouched()

    def test_verify(self):
        self.name(self.stream_key)
        found = self.site.verified(self.site.verify(self.checkpoint_id))
        self.assertEqual('failed', found.status)
        log = self.site.db.read(operations.verify_of, found.id)
        self.assertIn(CHANGED, log.error_info)

    def test_delete_follows_the_rows(self):
        """It succeeds: nobody can keep a checkpoint from being deleted."""
        for text in (None, '{', '[' * 100_000, '[]'):
            if text is None:
                self.name(self.data_key)
            else:
                self.checkpoint_id = self.protect((DISK, 'd1'))
                self.write(text)
            self.site.delete(self.checkpoint_id)
            self.site.ended(self.checkpoint_id, 'deleted')
            self.assert_untouched()
        self.assertEqual([], [
            path for path in self.bank_path('streams', 'project').rglob('*')
            if path.is_file()])


class ImportTest(LyingTestCase):
    """Everything that is known comes from the bank."""

    def setUp(self):
        super().setUp()
        self.lose()

    def refused(self):
        """Import; return why our checkpoint was refused."""
        outcomes = self.run_import()
        self.assertIn(self.checkpoint_id, outcomes['refused'])
        return self.reasons[self.checkpoint_id]

    def test_keys(self):
        for key in self.wrong_keys():
            self.name(key)
            self.assertIn(CHANGED, self.refused(), key)
        self.assert_untouched()

    def test_what_is_imported_can_be_deleted(self):
        """With the last component of a key at its worst."""
        name = '%2F..%2F\u202e\\..\\'
        own = f'checkpoints/project/{self.checkpoint_id}/data/1/x/{name}'
        path = self.bank_path(*own.split('/'))
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(SECRET)
        found = self.found()
        found['resources'][0]['objects'].append({
            'key': own, 'size': 1, 'sha256': ''})
        self.write(json.dumps(found))
        self.assertEqual({self.checkpoint_id}, self.run_import()['imported'])
        self.site.start_worker()
        self.site.delete(self.checkpoint_id)
        self.site.ended(self.checkpoint_id, 'deleted')
        self.assertFalse(path.exists())
        self.assert_untouched()

    def test_of_two_members_of_one_name_the_one_that_counts_is_judged(self):
        good = self.found()['resources'][0]['objects']
        self.name(self.data_key)
        text = json.dumps(self.found())
        bad = json.dumps(self.found()['resources'][0]['objects'])
        self.write(text.replace(
            f'"objects": {bad}',
            f'"objects": {json.dumps(good)}, "objects": {bad}'))
        self.assertIn(CHANGED, self.refused())

    def test_texts_that_are_no_manifest(self):
        deep = '[' * 100_000
        for text in (deep, '{"a":' * 100_000, deep + ']' * 100_000,
                     'NaN', '{"format": 1, "size": Infinity}', '[]', '7',
                     'null', '"x"', '\ufeff{}', '9' * 5000,
                     '{"format": "%s"}' % ('\ud800'.encode(
                         'utf-8', 'backslashreplace').decode())):
            self.write(text)
            self.assertTrue(self.refused(), text[:40])

    def test_values_of_the_wrong_kind(self):
        """None of them ends the import, and others are imported."""
        long, found = 'x' * 300, self.found()
        stream, = found['resources'][0]['saved']['streams'].values()
        for path, value in (
                (('resources',), {}), (('resources',), [7]),
                (('resources', 0, 'objects'), 'abc'),
                (('resources', 0, 'objects', 0, 'size'), -1),
                (('resources', 0, 'objects', 0, 'size'), 2 ** 70),
                (('resources', 0, 'id'), long),
                (('resources', 0, 'id'), {}),
                (('resources', 0, 'type'), long),
                (('resources', 0, 'name'), long),
                (('resources', 0, 'status'), []),
                (('resources', 0, 'saved', 'backup_id'), {}),
                (('resources', 0, 'saved', 'streams'), []),
                (('resources', 0, 'saved', 'streams', 'data'), stream['id']),
                (('resources', 0, 'saved', 'streams', 'data', 'id'), long),
                (('resources', 0, 'externals'), [{}]),
                (('plan', 'id'), long), (('plan', 'resources'), [7]),
                (('operation', 'id'), [7]),
                (('operation', 'attempt'), 2 ** 40),
                (('user_id',), long), (('extra_info',), 'x'),
                (('graph',), '[[], []]'), (('graph',), '[' * 100_000),
                (('created_at',), 'x' * 100_000)):
            changed = copy.deepcopy(found)
            place = changed
            for step in path[:-1]:
                place = place[step]
            place[path[-1]] = value
            self.write(json.dumps(changed))
            self.assertTrue(self.refused(), path)
        self.write(json.dumps(found))
        self.assertEqual({self.checkpoint_id}, self.run_import()['imported'])

    def test_a_stream_of_another_project(self):
        """Its rows are not shared with whoever names its id."""
        stream_id = self.stream_key.split('/')[2]
        self.site.db.write(self._put_theirs, stream_id)
        found = self.found()
        found['resources'][0]['saved']['streams']['data']['id'] = stream_id
        self.write(json.dumps(found))
        self.assertIn('another stream', self.refused())

    def _put_theirs(self, session, stream_id):
        session.add(models.Stream(
            id=stream_id, bank_uuid=self.provider().bank_uuid,
            project_id='victim', resource_type=DISK, resource_id='d9',
            state='complete'))

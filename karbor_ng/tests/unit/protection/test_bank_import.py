# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Importing: a lost database comes back from the bank."""

import collections
import json
import pathlib

import sqlalchemy as sa

from karbor_ng import errors
from karbor_ng.protection import bank_import
from karbor_ng.protection import client
from karbor_ng.protection import contents
from karbor_ng.protection import providers
from karbor_ng.store import models
from karbor_ng.store import operations
from karbor_ng.store import plans
from karbor_ng.store import query
from karbor_ng.store import restores
from karbor_ng.tests import fixtures
from karbor_ng.tests.unit.protection import environment
from karbor_ng.tests.unit.protection import test_stream_life

DISK = test_stream_life.DISK
DATA = test_stream_life.DATA
SERVER = 'OS::Nova::Server'
VOLUME = 'OS::Cinder::Volume'
FAMILY = [
    {'type': SERVER, 'id': 's1', 'name': 'web',
     'children': [[VOLUME, 'v1'], [VOLUME, 'v2']]},
    {'type': VOLUME, 'id': 'v1', 'name': 'root'},
    {'type': VOLUME, 'id': 'v2', 'name': 'data'},
]
#: Tables that an import fills, and columns that can not be known again.
TABLES = {
    models.Checkpoint: ('finished_at', 'revision'),
    models.CheckpointResource: (),
    models.Operation: ('created_at', 'started_at', 'ended_at', 'request_id',
                       'resume_count'),
    models.External: ('id', 'created_at'),
    models.Stream: ('identity', 'created_at'),
    models.StreamPart: (),
    models.StreamUse: (),
}


class ImportTestCase(fixtures.DatabaseTest):
    """Checkpoints of disks and of a family, and then no database."""

    options: dict = {}

    def setUp(self):
        super().setUp()
        self.site = self.useFixture(test_stream_life.Deployment(
            self.db, **self.options))
        self.site.registry.put_graph(FAMILY)
        self.disks = test_stream_life.DiskProtection
        self.disks.disks.update(d1=DATA, d2=DATA[::-1])
        self.disks.may_end.set()
        for kept in (self.disks.disks, self.disks.restored,
                     self.disks.broken):
            self.addCleanup(kept.clear)
        self.worker = self.site.start_worker()

    def protect(self, *resources, status='available'):
        checkpoint_id = self.site.protect(resources)
        self.assertEqual(status, self.site.ended(checkpoint_id).status)
        return checkpoint_id

    def lose(self):
        """Go on with a database that is empty; return its rows before."""
        self.site.hints.workers.clear()
        self.worker.stop()
        before = self.rows()
        self.site.db = self.useFixture(
            fixtures.DatabaseFixture(self.database_url)).db
        self.site.client = client.ProtectionClient(
            self.site.conf, self.site.db, self.site.hints)
        return before

    def rows(self):
        """Return all that counts of the tables that an import fills."""
        return {model: self.site.db.read(_all, model, left_out)
                for model, left_out in TABLES.items()}

    def provider(self):
        found = providers.load_all(self.site.provider_directory)
        provider = found[environment.PROVIDER_ID]
        provider.open()
        return provider

    def run_import(self, **kwargs):
        """Return ``{outcome: checkpoint ids}``."""
        outcomes = collections.defaultdict(set)
        self.reasons = {}
        for one in bank_import.import_all(self.site.db, self.provider(),
                                          **kwargs):
            outcomes[one.what].add(one.checkpoint_id)
            self.reasons[one.checkpoint_id] = one.reason
        return dict(outcomes)

    def bank_path(self, *parts):
        return pathlib.Path(self.site.path, 'bank', 'karbor', *parts)

    def manifest_path(self, checkpoint_id):
        return self.bank_path('checkpoints', self.site.caller.project_id,
                              checkpoint_id, 'manifest.json')


def _all(session, model, left_out):
    columns = [column for column in model.__table__.columns
               if column.name not in left_out]
    found = session.execute(sa.select(*columns)).tuples().all()
    return sorted(found, key=str)


class LostDatabaseTest(ImportTestCase):

    def test_rows_are_what_they_were(self):
        self.protect((SERVER, 's1'))
        self.protect((DISK, 'd1'), (DISK, 'd2'))
        self.protect((DISK, 'd1'))
        self.disks.broken.add('d2')
        self.protect((DISK, 'd2'), (VOLUME, 'v1'), status='error')
        before = self.lose()
        self.assertEqual(4, len(self.run_import()['imported']))
        after = self.rows()
        for model in TABLES:
            self.assertEqual(before[model], after[model])
            self.assertNotEqual([], after[model])

    def test_restore_and_delete_work(self):
        checkpoint_id = self.protect((SERVER, 's1'), (DISK, 'd1'))
        shared = self.protect((DISK, 'd1'))
        self.lose()
        self.run_import()
        self.site.start_worker()
        restore = self.site.restored(self.site.restore(checkpoint_id))
        self.assertEqual('success', restore.status)
        rows = {row.id: row for row in self.site.db.read(
            restores.resources, restore.id)}
        self.assertEqual(DATA, self.disks.restored[rows['d1'].new_id])
        for one in checkpoint_id, shared:
            self.site.delete(one)
            self.assertEqual('deleted',
                             self.site.ended(one, 'deleted').status)
        left = self.site.registry.objects().values()
        self.assertEqual({'restored'}, {item['label'] for item in left})
        self.assertEqual([self.bank_path('bank.json')], [
            path for path in self.bank_path().rglob('*')
            if path.is_file()])

    def test_what_a_failed_checkpoint_left_can_be_deleted(self):
        self.disks.broken.add('d1')
        checkpoint_id = self.protect((DISK, 'd1'), (VOLUME, 'v1'),
                                     status='error')
        self.lose()
        self.run_import()
        operation = self.site.operation(checkpoint_id)
        self.assertEqual('failed', operation.state)
        self.assertIn('broken', operation.error_info)
        self.site.start_worker()
        self.site.delete(checkpoint_id)
        self.site.ended(checkpoint_id, 'deleted')
        self.assertEqual({}, self.site.registry.objects())

    def test_a_stream_stays_while_one_of_two_uses_it(self):
        first, second = self.protect((DISK, 'd1')), self.protect((DISK, 'd1'))
        self.lose()
        self.run_import()
        self.site.start_worker()
        self.site.delete(first)
        self.site.ended(first, 'deleted')
        restore = self.site.restored(self.site.restore(second))
        self.assertEqual('success', restore.status)


class PlanTest(ImportTestCase):

    def test_the_newest_checkpoint_counts(self):
        plan_id = self.site.plan([(DISK, 'd1')], {DISK: {'mode': 'x'}})
        for name in 'older', 'newer':
            self.site.db.write(plans.update, plan_id,
                               self.site.caller.project_id, {'name': name})
            checkpoint = self.site.client.protect(self.site.caller, plan_id)
            self.site.ended(checkpoint.id)
        before = self.site.db.read(plans.get, plan_id)
        other = self.protect((VOLUME, 'v1'))
        self.lose()
        self.manifest_path(other).write_text('{')
        self.assertEqual(1, bank_import.import_plans(
            self.site.db, self.provider()))
        after = self.site.db.read(plans.get, plan_id)
        for name in ('name', 'project_id', 'provider_id', 'resources',
                     'parameters', 'description', 'status'):
            self.assertEqual(getattr(before, name), getattr(after, name))
        self.assertEqual(0, bank_import.import_plans(
            self.site.db, self.provider()))


class AgainTest(ImportTestCase):

    def test_twice_is_harmless(self):
        ids = {self.protect((DISK, 'd1')), self.protect((VOLUME, 'v1'))}
        self.lose()
        self.assertEqual({'imported': ids}, self.run_import())
        before = self.rows()
        self.assertEqual({'known': ids}, self.run_import())
        self.assertEqual(before, self.rows())

    def test_goes_on_where_it_was_interrupted(self):
        ids = {self.protect((DISK, 'd1')), self.protect((DISK, 'd1'))}
        before = self.lose()
        first = next(bank_import.import_all(self.site.db, self.provider()))
        self.assertEqual('imported', first.what)
        self.assertEqual(
            {'known': {first.checkpoint_id},
             'imported': ids - {first.checkpoint_id}}, self.run_import())
        self.assertEqual(before, self.rows())

    def test_into_the_database_that_was_never_lost(self):
        checkpoint_id = self.protect((DISK, 'd1'))
        before = self.rows()
        self.assertEqual({'known': {checkpoint_id}}, self.run_import())
        self.assertEqual(before, self.rows())

    def test_deleted_ones_do_not_come_back(self):
        gone, kept = self.protect((DISK, 'd1')), self.protect((DISK, 'd1'))
        self.site.delete(gone)
        self.site.ended(gone, 'deleted')
        self.lose()
        self.assertEqual({'imported': {kept}}, self.run_import())

    def test_two_at_once(self):
        ids = {self.protect((DISK, 'd1')) for _ in range(3)}
        before = self.lose()
        ended = fixtures.together(self._import_all, self._import_all)
        self.assertEqual([], [one for one in ended
                              if isinstance(one, Exception)])
        self.assertEqual({'known': ids}, self.run_import())
        self.assertEqual(before, self.rows())

    def _import_all(self):
        return list(bank_import.import_all(self.site.db, self.provider()))

    def test_dry(self):
        checkpoint_id = self.protect((DISK, 'd1'))
        self.lose()
        for _ in range(2):
            self.assertEqual({'imported': {checkpoint_id}},
                             self.run_import(is_dry=True))
        self.run_import()
        self.assertEqual({'known': {checkpoint_id}},
                         self.run_import(is_dry=True))


class RefusalTest(ImportTestCase):

    def setUp(self):
        super().setUp()
        self.checkpoint_id = self.protect((DISK, 'd1'))
        self.other = self.protect((VOLUME, 'v1'))
        self.lose()

    def refused(self, text):
        """Import; one checkpoint is refused, and the other is imported."""
        self.assertEqual({'refused': {self.checkpoint_id},
                          'imported': {self.other}}, self.run_import())
        self.assertIn(text, self.reasons[self.checkpoint_id])
        self.assertEqual([], self.site.db.read(
            operations.list, query.Page(), checkpoint_id=self.checkpoint_id))

    def change(self, **values):
        path = self.manifest_path(self.checkpoint_id)
        path.write_text(json.dumps(dict(json.loads(path.read_text()),
                                        **values)))

    def test_another_provider(self):
        self.change(provider_id=fixtures.PROVIDER)
        self.refused(f'It was made by provider {fixtures.PROVIDER}')

    def test_later_format(self):
        self.change(format=7)
        self.refused('format 7')

    def test_moved_manifest(self):
        self.change(project_id='somebody')
        self.refused('somebody moved it')

    def test_damaged(self):
        for values, text in (({'resources': [{'objects': []}]},
                              '$.resources[0]'),
                             ({'graph': '[{}, []]'}, 'differ'),
                             ({'graph': 'x'}, 'damaged'),
                             ({'graph': '[]'}, 'damaged'),
                             ({'finished_at': 'yesterday'}, 'damaged'),
                             ({'finished_at': '2026-01-01'}, 'damaged'),
                             ({'operation': {}}, '$.operation')):
            kept = self.manifest_path(self.checkpoint_id).read_text()
            self.change(**values)
            self.assertEqual({self.checkpoint_id},
                             self.run_import()['refused'])
            self.assertIn(text, self.reasons[self.checkpoint_id])
            self.manifest_path(self.checkpoint_id).write_text(kept)

    def test_no_json(self):
        self.manifest_path(self.checkpoint_id).write_text('{')
        self.refused('holds no JSON')

    def test_same_id_of_another_project(self):
        self.site.db.write(environment.checkpoints.create,
                           fixtures.checkpoint_values(
                               id=self.checkpoint_id, project_id='other'))
        self.refused('of project other')

    def test_same_operation_of_another_checkpoint(self):
        path = self.manifest_path(self.checkpoint_id)
        operation = json.loads(path.read_text())['operation']
        other = self.site.db.write(environment.checkpoints.create,
                                   fixtures.checkpoint_values())
        operation_id = self.site.db.write(
            operations.create, fixtures.operation_values(
                id=operation['id'], checkpoint_id=other.id)).id
        self.refused(operation_id)

    def test_a_stream_that_is_being_removed(self):
        found = json.loads(self.manifest_path(self.checkpoint_id).read_text())
        stream = found['resources'][0]['saved']['streams']['data']
        self.site.db.write(self._put_removing, stream['id'])
        self.refused('being removed')

    def _put_removing(self, session, stream_id):
        session.add(models.Stream(
            id=stream_id, bank_uuid=self.provider().bank_uuid,
            project_id=self.site.caller.project_id, resource_type=DISK,
            resource_id='d1', state='removing'))

    def test_bank_of_somebody_else(self):
        values = dict(self.provider().values('node-2'),
                      bank_uuid=fixtures.new_id())
        self.site.db.write(environment.provider_rows.publish, values)
        problem = self.assertRaises(errors.Conflict, self.run_import)
        self.assertIn(values['bank_uuid'], str(problem))

    def test_rests_without_a_manifest_are_passed_over(self):
        self.manifest_path(self.checkpoint_id).unlink()
        self.assertEqual({'imported': {self.other}}, self.run_import())


class ContentsTest(ImportTestCase):

    def test_strangers_are_passed_over(self):
        checkpoint_id = self.protect((DISK, 'd1'))
        for parts in (('checkpoints', 'README'),
                      ('checkpoints', 'project', 'notes', 'a'),
                      ('checkpoints', checkpoint_id, 'index.json'),
                      ('checkpoints', checkpoint_id, 'resource-data', 'v',
                       'status')):
            path = self.bank_path(*parts)
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text('x')
        bank = self.provider().bank
        self.assertEqual([('project', checkpoint_id)],
                         list(contents.checkpoints(bank)))
        (project_id, stream_id), = contents.all_streams(bank)
        key, = bank.keys('streams/')
        self.assertEqual('project', project_id)
        self.assertEqual((stream_id, 0), contents.stream_of(key))
        self.assertIsNone(contents.stream_of('checkpoints/a/b/c'))

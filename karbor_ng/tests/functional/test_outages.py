# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What karbor needs goes away for a while, and comes back.

Users go on asking meanwhile, schedules are due, and data is on its way. No
service may end or be started again by anybody, and all must end well.

These tests take away what all others need: they run alone. An outage lasts for
``KARBOR_TEST_OUTAGE_SECONDS`` at least, 20 unless that is set, so that minutes
can be tried as well.
"""

import configparser
import json
import os
import signal
import subprocess
import time
import uuid

import kombu
import psutil
import requests

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import outages
from karbor_ng.tests.functional import scheduling

SECONDS = float(os.environ.get('KARBOR_TEST_OUTAGE_SECONDS', 20))
#: What karbor needs, and these tests take away.
NEEDED = ('mariadb', 'rabbitmq', 'keystone', 'swift-proxy')
#: Seconds in which a run of the schedule may begin.
WINDOW = 1200
#: Seconds until somebody has noticed that a bank is away.
BANK_SECONDS = 60
#: What all services have together once their pools are as large as they get.
FULL = outages.Sizes(threads=170, files=125)
#: Threads, and files, that there may be more.
GROWTH = 16
#: Lines that all services may log about an outage, and more for each minute.
LINES, LINES_A_MINUTE = 80, 120
#: Two parts of a stream.
IMAGE_SIZE = 40 * base.MIB
IMAGE = 'OS::Glance::Image'


class OutageTestCase(scheduling.Scheduling):

    def setUp(self):
        super().setUp()
        self.addCleanup(base.stack, 'start', *NEEDED)
        self.addCleanup(self.print_figures)
        self.figures, self.data = {}, {}
        self.health('ok')
        self.schedule_path = self.schedule(
            trigger_id=self.trigger(window=WINDOW))
        self.processes = outages.Processes()
        self.before = self.processes.sizes()
        self.users = self.useFixture(outages.Users(
            self, self.plan_id, base.NOOP_PROVIDER))
        base.wait(lambda: len(self.users.accepted) > 1, what='first requests')
        self.began = time.monotonic()

    def take_away(self, *names):
        base.stack('kill', *names)
        self.gone_at = time.monotonic()

    def give_back(self, *names):
        """Start them, not before it was an outage."""
        time.sleep(max(0, SECONDS - (time.monotonic() - self.gone_at)))
        base.stack('start', *names)
        self.figures['outage'] = round(time.monotonic() - self.gone_at, 1)

    # Health

    def healthcheck(self, token=None):
        url = self.demo.karbor.get_endpoint().partition('/v1')[0]
        answer = requests.get(
            f'{url}/healthcheck', timeout=30,
            headers={'X-Auth-Token': token} if token else {})
        return answer.status_code, answer.json()

    def health(self, status, check=None, seconds=120, code=200):
        """Wait until it says so of the whole, and that one check fails."""
        def look():
            found, body = self.healthcheck()
            failed = [name for name, one in body['checks'].items()
                      if one['status'] != 'ok']
            return (found == code and body['status'] == status
                    and (check is None or check in failed))
        begun = time.monotonic()
        base.wait(look, seconds, what=f'health {status} {check or ""}')
        self.figures[f'{status} {check or ""} told after'] = round(
            time.monotonic() - begun, 1)

    # Data that moves

    def begin(self, provider):
        """Let an image be on its way into a bank, and another one out of it.
        """
        self.kept = self.protect_image(base.FILESYSTEM_PROVIDER)
        self.ended(self.kept)
        self.restoring = self.start_restore(self.kept)
        self.made = self.protect_image(provider)

    def protect_image(self, provider):
        """Start to protect an image of random bytes; return the path."""
        data = os.urandom(IMAGE_SIZE)
        image = self.demo._upload(data)
        self.addCleanup(self.demo.cloud.image.delete_image, image.id)
        plan = self.request('POST', '/plans', {'plan': {
            'name': 'outage', 'provider_id': provider, 'parameters': {},
            'resources': [{'id': image.id, 'type': IMAGE, 'name': 'image'}],
        }})['plan']['id']
        self.addCleanup(self.remove_plan, self.demo, plan)
        path = self.protect(plan, provider)
        self.data[path] = data
        return path

    def start_restore(self, path):
        """Start to restore a checkpoint; return the restore's path."""
        _, _, provider, _, checkpoint_id = path.split('/')
        made = self.request('POST', '/restores', {'restore': {
            'provider_id': provider, 'checkpoint_id': checkpoint_id,
            'parameters': {}}})['restore']
        return f'/restores/{made["id"]}'

    def restored(self, path):
        """Wait for a restore's end; return it."""
        def look():
            found = self.request('GET', path)['restore']
            return None if found['status'] == 'started' else found
        found = base.wait(look, 300, what=f'end of {path}')
        self.assertEqual('success', found['status'], found)
        return found

    def check_images(self):
        """What was restored has the same bytes; then leave nothing."""
        for path, restore in ((self.kept, self.restoring),
                              (self.made, self.start_restore(self.made))):
            image_id, = self.restored_ids(self.restored(restore))
            found = self.demo.cloud.image.download_image(image_id)
            self.assertEqual(self.data[path], found.content)
            self.demo.cloud.image.delete_image(image_id)
            self.delete(path)

    # What must be true in the end

    def check_all(self, codes):
        """All is well again, by itself, and nothing was lost or doubled."""
        self.health('ok')
        time.sleep(outages.Users.PAUSE * 2)
        self.users.stop()
        self.check_users(codes)
        self.check_schedule()
        self.assertEqual(outages.Processes().pids, self.processes.pids)
        self.check_growth()
        self.check_logs()

    def check_users(self, codes):
        self.figures['answers'] = dict(self.users.answers)
        self.figures['slowest answer'] = round(self.users.slowest, 1)
        self.assertLessEqual(set(self.users.answers), codes,
                             self.users.refusals[:3])
        for path in self.users.accepted:
            self.ended(path)

    def check_schedule(self):
        self.stop(self.schedule_path)
        runs = self.runs(self.schedule_path)
        self.figures['runs'] = len(runs)
        self.assertEqual(len(runs), len({one['planned_at'] for one in runs}))
        # Some may come upon one that waits.
        self.assertLessEqual({one['status'] for one in runs},
                             {'succeeded', 'skipped'}, runs)

    def check_growth(self):
        after = self.processes.sizes()
        self.figures['threads, files'] = (self.before, after)
        self.assertLess(
            after.threads, max(self.before.threads, FULL.threads) + GROWTH)
        self.assertLess(
            after.files, max(self.before.files, FULL.files) + GROWTH)

    def check_logs(self):
        said = '\n'.join(self.processes.said().values())
        loud = len(outages.LOUD.findall(said))
        self.figures['loud lines, all lines'] = loud, said.count('\n')
        minutes = (time.monotonic() - self.began) / 60
        self.assertLess(loud, LINES + LINES_A_MINUTE * minutes, said[-5000:])

    def print_figures(self):
        print(self.id(), self.figures)


class OutagesTest(OutageTestCase):

    def test_broker_and_bank(self):
        """Neither is needed to accept, and no operation is lost."""
        self.begin(base.SWIFT_PROVIDER)
        self.take_away('rabbitmq', 'swift-proxy')
        self.health('degraded', 'broker')
        # It starts without a hint, and ends while the broker is away.
        self.ended(self.users.accepted[-1])
        self.health('degraded', 'providers', BANK_SECONDS)
        self.check_bank_is_named()
        self.give_back('rabbitmq', 'swift-proxy')
        self.ended(self.made)
        self.restored(self.restoring)
        self.check_all({200})
        self.assertLess(self.users.slowest, 10)
        self.check_images()

    def check_bank_is_named(self):
        token = base.User('admin').cloud.session.get_token()
        _code, body = self.healthcheck(token)
        problems = {one['id']: one['problem'] for one in body['checks'][
            'providers']['details']['providers']}
        self.assertIn('Swift failed', problems[base.SWIFT_PROVIDER])
        self.assertIsNone(problems[base.FILESYSTEM_PROVIDER])

    def test_database(self):
        """Requests are refused in a clear way, and operations wait."""
        self.begin(base.FILESYSTEM_PROVIDER)
        self.take_away('mariadb')
        self.health('failed', 'database', code=503)
        self.give_back('mariadb')
        self.ended(self.made)
        self.restored(self.restoring)
        self.check_all({200, 503})
        self.assertIn(503, self.users.answers)
        self.assertIn('try again later', ' '.join(self.users.refusals))
        self.check_images()

    def test_keystone(self):
        """Who was seen a moment ago is served; nobody is called a stranger."""
        unseen = base.User('demo').cloud.session.get_token()
        self.begin(base.FILESYSTEM_PROVIDER)
        self.take_away('keystone')
        self.health('degraded', 'keystone')
        answer = self.users.ask(unseen)
        self.assertEqual(503, answer.status_code, answer.text)
        self.assertIn('Keystone', answer.text)
        self.give_back('keystone')
        self.ended(self.made)
        self.restored(self.restoring)
        self.check_all({200, 503})
        self.check_images()


class MessagesTest(OutageTestCase):
    """Hints are lost, come twice, and are thrown away by the broker."""

    NUMBER = 5

    def setUp(self):
        super().setUp()
        conf = configparser.ConfigParser(interpolation=None)
        conf.read(base.STACK / 'etc' / 'karbor' / 'karbor.conf')
        self.broker = kombu.Connection(conf['DEFAULT']['transport_url'].replace(
            'rabbit://', 'amqp://'))
        self.addCleanup(self.broker.release)
        self.hints = kombu.Exchange('karbor-protection_fanout', 'fanout',
                                    passive=True)

    def rabbitmqctl(self, *words):
        """Return what RabbitMQ's own tool prints."""
        return subprocess.run(
            ['/usr/lib/rabbitmq/bin/rabbitmqctl', '-n', 'stack@localhost',
             '-q', *words], text=True, capture_output=True, check=True,
            env={**os.environ, 'HOME': str(base.STACK / 'rabbitmq'),
                 'ERL_EPMD_PORT': self.epmd_port()}).stdout

    def queues(self):
        """Return the queues of protection services."""
        return [line for line
                in self.rabbitmqctl('list_queues', 'name').splitlines()
                if line.startswith('karbor-protection_fanout')]

    def epmd_port(self):
        """RabbitMQ's ports lie side by side."""
        return str(self.broker.info()['port'] + 2)

    def create(self):
        for _number in range(self.NUMBER):
            self.users.ask()

    def test_doubled(self):
        """Somebody says everything once more.

        In other words: oslo.messaging knows those that it has heard.
        """
        again, seen = kombu.Producer(self.broker.channel()), []
        queue = kombu.Queue(str(uuid.uuid4()), self.hints, exclusive=True,
                            auto_delete=True)

        def repeat(body, message):
            message.ack()
            if not message.headers.get('again'):
                seen.append(body)
                inner = json.loads(body['oslo.message'])
                inner['_unique_id'] = uuid.uuid4().hex
                again.publish({**body, 'oslo.message': json.dumps(inner)},
                              exchange=self.hints, serializer='json',
                              headers={'again': True})
        with self.broker.Consumer(queue, callbacks=[repeat]):
            self.create()
            base.wait(lambda: self.drain() or len(seen) >= self.NUMBER,
                      what='hints')
        self.check_all({200})
        self.check_attempts()

    def drain(self):
        try:
            self.broker.drain_events(timeout=0.5)
        except TimeoutError:
            return

    def check_attempts(self):
        """Nobody has begun anything a second time."""
        said = self.processes.said()['karbor-protection']
        self.assertNotIn('(attempt 2)', said)

    def test_lost(self):
        """Nothing arrives, and nobody is told that it does not."""
        channel, queues = self.broker.channel(), self.queues()
        self.assertTrue(queues)
        for queue in queues:
            channel.queue_unbind(queue, self.hints.name)
        self.create()
        for path in self.users.accepted[-self.NUMBER:]:
            self.ended(path, seconds=60)
        for queue in queues:
            channel.queue_bind(queue, self.hints.name)
        self.check_all({200})

    def test_thrown_away(self):
        """What lies in a queue goes, while who should fetch it sleeps.

        It lies there again, although it was sent, once the connection is
        closed on which nobody has said that it arrived.
        """
        queues = self.queues()
        sleepers = [psutil.Process(pid) for pid in self.processes.pids[
            'karbor-protection']]
        for one in sleepers:
            self.addCleanup(one.send_signal, signal.SIGCONT)
            one.send_signal(signal.SIGSTOP)
        self.create()
        self.rabbitmqctl('close_all_connections', 'A test does this.')
        channel = self.broker.clone().channel()
        purged = base.wait(
            lambda: sum(map(channel.queue_purge, queues)), 30, what='hints')
        for one in sleepers:
            one.send_signal(signal.SIGCONT)
        self.assertLessEqual(self.NUMBER, purged)
        self.check_all({200})
        self.check_attempts()

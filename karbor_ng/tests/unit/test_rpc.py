# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Our own look at the broker, and hints, as far as they need none."""

import datetime
import pathlib
import socket
import ssl
import threading
import time

from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import ec
import fixtures
from oslo_messaging import conffixture
from oslotest import base

from karbor_ng import errors
from karbor_ng import rpc
from karbor_ng.tests import fixtures as small


class TlsListener(fixtures.Fixture):
    """Takes connections in TLS, as ``name``, and hangs up on who speaks.

    :ivar path: of the certificate, which is its own authority
    :ivar heard: the first words of each who came through the handshake
    """

    def __init__(self, name):
        self._name = name
        self.heard = []

    def _setUp(self):
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        self.path = folder / 'certificate.pem'
        self._write_certificate(folder / 'key.pem')
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(self.path, folder / 'key.pem')
        self._listener = context.wrap_socket(
            socket.create_server(('127.0.0.1', 0)), server_side=True)
        self.port = self._listener.getsockname()[1]
        thread = threading.Thread(target=self._serve)
        thread.start()
        self.addCleanup(thread.join)
        self.addCleanup(self._listener.close)
        # Closing alone leaves a thread in accept.
        self.addCleanup(self._listener.shutdown, socket.SHUT_RDWR)

    def _write_certificate(self, key_path):
        key = ec.generate_private_key(ec.SECP256R1())
        name = x509.Name([x509.NameAttribute(
            x509.NameOID.COMMON_NAME, 'broker')])
        now = datetime.datetime.now(datetime.timezone.utc)
        certificate = (
            x509.CertificateBuilder().subject_name(name).issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(hours=1))
            .add_extension(x509.SubjectAlternativeName(
                [x509.DNSName(self._name)]), critical=False)
            .sign(key, hashes.SHA256()))
        self.path.write_bytes(certificate.public_bytes(
            serialization.Encoding.PEM))
        key_path.write_bytes(key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption()))

    def _serve(self):
        while self._listener.fileno() >= 0:
            try:
                connection, _address = self._listener.accept()
                with connection:
                    self.heard.append(connection.recv(4))
            except OSError:
                # Refused by the other side, or the test is over.
                continue


class BrokerTest(base.BaseTestCase):

    def check(self, url, **options):
        conf = self.useFixture(small.ConfFixture()).conf
        self.useFixture(conffixture.ConfFixture(conf)).transport_url = url
        for name, value in options.items():
            conf.set_override(name, value, 'oslo_messaging_rabbit')
        self.addCleanup(rpc.transport(conf).cleanup)
        rpc.Broker(conf).check()

    def test_inside_the_process(self):
        self.check('fake://')

    def test_nobody_listens(self):
        problem = self.assertRaises(
            errors.Unavailable, self.check,
            'rabbit://user:secret@127.0.0.1:1/')
        self.assertIn('127.0.0.1: ', str(problem))
        self.assertNotIn('secret', str(problem))

    def test_somebody_else_listens(self):
        with socket.create_server(('127.0.0.1', 0)) as listener:
            port = listener.getsockname()[1]
            self.assertRaises(errors.Unavailable, self.check,
                              f'rabbit://user:secret@127.0.0.1:{port}/')

    def check_tls(self, name, is_trusted=True):
        """Ask one who shows a certificate for ``name``, as ``localhost``.

        Return what was heard of us, and what is wrong then.
        """
        listener = self.useFixture(TlsListener(name))
        options = {'ssl_ca_file': str(listener.path)} if is_trusted else {}
        problem = self.assertRaises(
            errors.Unavailable, self.check,
            f'rabbit://user:secret@localhost:{listener.port}/',
            ssl=True, **options)
        return listener.heard, str(problem)

    def test_tls(self):
        heard, problem = self.check_tls('localhost')
        self.assertEqual({b'AMQP'}, set(heard), problem)

    def test_tls_with_the_name_of_somebody_else(self):
        heard, problem = self.check_tls('broker')
        self.assertEqual([], heard)
        self.assertIn("not valid for 'localhost'", problem)

    def test_tls_of_an_unknown_authority(self):
        heard, problem = self.check_tls('localhost', is_trusted=False)
        self.assertEqual([], heard)
        self.assertIn('CERTIFICATE_VERIFY_FAILED', problem)


class Ear:
    """Hears hints."""

    def __init__(self):
        self.heard = []
        self.enough = threading.Event()

    def operation_queued(self, _context, operation_id):
        self.heard.append(operation_id)

    def operation_aborted(self, _context, operation_id):
        self.heard.append(f'no {operation_id}')
        self.enough.set()


class HintsTest(base.BaseTestCase):

    def hints(self, url):
        conf = self.useFixture(small.ConfFixture()).conf
        self.useFixture(conffixture.ConfFixture(conf)).transport_url = url
        self.transport = rpc.transport(conf)
        return rpc.ProtectionHints(self.transport)

    def test_arrive_in_their_order(self):
        hints, ear = self.hints('fake:'), Ear()
        server = rpc.protection_server(self.transport, 'node', ear)
        server.start()
        self.addCleanup(server.wait)
        self.addCleanup(server.stop)
        for name in ('one', 'two'):
            hints.operation_queued(name)
        hints.operation_aborted('one')
        self.assertTrue(ear.enough.wait(30))
        self.assertEqual(['one', 'two', 'no one'], ear.heard)

    def test_nobody_waits_for_a_broker_that_hangs(self):
        log = self.useFixture(fixtures.FakeLogger('karbor_ng.rpc'))
        with socket.create_server(('127.0.0.1', 0)) as listener:
            hints = self.hints('rabbit://user:secret@127.0.0.1:'
                               f'{listener.getsockname()[1]}/')
            began = time.monotonic()
            for number in range(2 * hints.MOST_WAITING):
                hints.operation_queued(str(number))
            self.assertLess(time.monotonic() - began, 5)
        self.assertEqual(1, log.output.count('does not take hints'))

    def test_a_broker_that_refuses_is_not_asked_for_each_hint(self):
        log = self.useFixture(fixtures.FakeLogger())
        self.useFixture(fixtures.MonkeyPatch(
            'karbor_ng.rpc.ProtectionHints.PAUSE_SECONDS', 0.2))
        hints = self.hints('rabbit://user:secret@127.0.0.1:1/')
        until = time.monotonic() + 1
        while time.monotonic() < until:
            hints.operation_queued('any')
            time.sleep(0.001)
        self.assertEqual(1, log.output.count('does not take hints'))
        self.assertIn('sweeps and renewals', log.output)
        self.assertLess(len(log.output.splitlines()), 30)

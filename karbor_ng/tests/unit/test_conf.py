# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The options: all are there, each once, each described."""

import collections
import io
import re
import socket

from oslo_config import cfg
from oslo_config import generator
from oslotest import base

from karbor_ng import conf as configuration
from karbor_ng.tests import fixtures

#: What a help of an option starts and ends with.
SENTENCE = re.compile(r'[A-Z"].*\.', re.DOTALL)
#: Groups whose options, and their helps, are those of libraries.
LIBRARIES = ('database', 'service_user')


def flat(groups):
    """Yield group, option."""
    for group, options in groups:
        for option in options:
            yield getattr(group, 'name', group), option


def sample(*namespaces):
    """Return the sample file as oslo-config-generator writes it."""
    conf = cfg.ConfigOpts()
    generator.register_cli_opts(conf)
    conf([word for one in namespaces for word in ('--namespace', one)],
         default_config_files=[])
    out = io.StringIO()
    generator.generate(conf, out)
    return out.getvalue()


class ListTest(base.BaseTestCase):

    def test_every_owner_is_there(self):
        found = configuration.list_opts()
        self.assertEqual(len(configuration.OWNERS), len(found))
        names = {(group, option.dest) for group, option in flat(found)}
        for known in (('DEFAULT', 'host'), ('credentials', 'keys'),
                      ('database', 'connection'), ('DEFAULT', 'quota_plans'),
                      ('protection', 'lease_seconds')):
            self.assertIn(known, names)

    def test_names_are_unique(self):
        for groups in (configuration.list_opts(),
                       configuration.list_provider_opts()):
            counted = collections.Counter(
                (group, option.dest) for group, option in flat(groups))
            self.assertEqual([], [name for name, times in counted.items()
                                  if times > 1])

    def test_helps_are_sentences(self):
        groups = (configuration.list_opts()
                  + configuration.list_provider_opts())
        for group, option in flat(groups):
            if group in LIBRARIES:
                continue
            self.assertRegex(option.help or '', SENTENCE,
                             f'[{group}] {option.dest}')

    def test_sample_of_the_services(self):
        text = sample('karbor_ng')
        for line in ('[credentials]', '#keys =', '[database]',
                     '#lease_seconds = 60', '#host = <host name>'):
            self.assertIn(f'\n{line}', text)

    def test_sample_has_our_defaults_of_what_libraries_offer(self):
        self.assertIn('\n#max_request_body_size = 4194304\n', sample(
            'karbor_ng', 'oslo.middleware.sizelimit'))
        self.assertIn('\n#max_pool_size = 20\n', sample('karbor_ng'))

    def test_sample_of_provider_files(self):
        text = sample('karbor_ng.providers')
        self.assertIn('[provider]', text)
        self.assertIn('#plugin =', text)
        self.assertIn('[swift_bank_plugin]', text)

    def test_samples_do_not_depend_on_the_host(self):
        for namespace in ('karbor_ng', 'karbor_ng.providers'):
            self.assertNotIn(f'= {socket.gethostname()}\n', sample(namespace))


class LoadTest(base.BaseTestCase):

    def setUp(self):
        super().setUp()
        self.addCleanup(cfg.CONF.reset)
        cfg.CONF.reset()

    def load(self, text, *argv, **kwargs):
        path = self.create_tempfiles([('karbor', text)], '.conf')[0]
        return configuration.load(argv, config_files=[path], **kwargs)

    def test_file(self):
        conf = self.load('[DEFAULT]\nhost = node-7\n'
                         '[protection]\nlease_seconds = 5\n')
        self.assertEqual(('node-7', 5.0),
                         (conf.host, conf.protection.lease_seconds))

    def test_command_line(self):
        path = self.create_tempfiles(
            [('other', '[DEFAULT]\nhost = node-8\n')], '.conf')[0]
        conf = self.load('[DEFAULT]\nhost = node-7\n', '--config-file', path,
                         '--debug')
        self.assertEqual(('node-8', True), (conf.host, conf.debug))

    def test_old_group_of_protection(self):
        conf = self.load('[DEFAULT]\nmax_concurrent_operations = 3\n')
        self.assertEqual(3, conf.protection.max_concurrent_operations)

    def test_values_out_of_bounds(self):
        conf = self.load('[protection]\nmax_parallel_resources = 0\n')
        problem = self.assertRaises(
            cfg.ConfigFileValueError,
            lambda: conf.protection.max_parallel_resources)
        self.assertIn('max_parallel_resources', str(problem))

    def test_twice(self):
        for name in ('node-1', 'node-2'):
            cfg.CONF.reset()
            self.assertEqual(
                name, self.load(f'[DEFAULT]\nhost = {name}\n').host)

    def test_all_owners_together(self):
        conf = self.useFixture(fixtures.ConfFixture()).conf
        for group, option in flat(configuration.list_opts()):
            holder = conf if group == 'DEFAULT' else conf[group]
            self.assertIn(option.dest, holder)

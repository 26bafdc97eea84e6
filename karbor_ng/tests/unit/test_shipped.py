# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""What is shipped beside the modules: entry points, samples and options.

Separate because nobody imports these: they rot unless somebody looks.
"""

import configparser
import importlib.metadata
import pathlib
import re

import fixtures
from oslotest import base

from karbor_ng import conf as configuration
from karbor_ng.protection import providers

CHECKOUT = pathlib.Path(__file__).parents[3]
SAMPLES = sorted((CHECKOUT / 'etc' / 'providers.d').glob('*.conf'))
ENTRY_POINTS = importlib.metadata.distribution('karbor_ng').entry_points


class EntryPointTest(base.BaseTestCase):

    def test_all_can_be_loaded(self):
        for entry in ENTRY_POINTS:
            with self.subTest(entry=entry.name):
                self.assertTrue(callable(entry.load()))

    def test_units_start_programs_that_exist(self):
        programs = {entry.name for entry in ENTRY_POINTS
                    if entry.group == 'console_scripts'}
        for unit in (CHECKOUT / 'etc' / 'systemd').glob('*.service'):
            started = re.search(r'^ExecStart=\S*/(\S+)', unit.read_text(),
                                re.M).group(1)
            self.assertIn(started, programs)
            self.assertEqual(unit.stem, started)


class ProviderSampleTest(base.BaseTestCase):

    def test_all_can_be_loaded(self):
        folder = pathlib.Path(self.useFixture(fixtures.TempDir()).path)
        (folder / 'bank').mkdir()
        for sample in SAMPLES:
            text = sample.read_text().replace('/var/lib/karbor', str(folder))
            (folder / sample.name).write_text(
                text.replace('enabled = False', 'enabled = True'))
        loaded = providers.load_all(str(folder))
        self.assertEqual(len(SAMPLES), len(loaded))

    def test_only_what_is_harmless_is_enabled(self):
        enabled = [sample.stem for sample in SAMPLES
                   if 'enabled = True' in sample.read_text()]
        self.assertEqual(['openstack-infra'], enabled)

    def test_options_exist(self):
        known = {(group, option.dest)
                 for group, options in configuration.list_provider_opts()
                 for option in options}
        for sample in SAMPLES:
            parser = configparser.ConfigParser(strict=False,
                                               interpolation=None)
            parser.read(sample)
            named = {(section, option) for section in parser.sections()
                     for option in parser[section]}
            self.assertEqual(set(), named - known, sample.name)


class OptionTest(base.BaseTestCase):

    def test_help_is_written_in_sentences(self):
        ours = [option for group, options in (configuration.list_opts()
                + configuration.list_provider_opts())
                for option in options if group not in (
                    'database', 'service_user')]
        poor = [option.name for option in ours
                if not re.fullmatch(r'[A-Z"].*\.', option.help or '', re.S)]
        self.assertEqual([], poor)

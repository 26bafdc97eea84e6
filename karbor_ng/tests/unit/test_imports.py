# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Who may import whom, as data, held against the source.

Separate from all other tests because it reads the modules instead of running
them. A new row, or a new word in one, is a change of the architecture: say
why in ``doc/source/contributor/architecture.rst``.
"""

import ast
import graphlib
import importlib.metadata
import pathlib
import subprocess
import sys

from oslotest import base
import testscenarios

PACKAGE = 'karbor_ng'
ROOT = pathlib.Path(__file__).parents[2]

#: What programs build once, at the top, and hand down.
TOOLS = ('cmd', 'conf', 'credentials', 'errors', 'keystone', 'logs',
         'protectables', 'rpc', 'store')

#: What modules of a row may import beside modules of the same row. A module
#: belongs to the longest name that it starts with. ``store`` stands for the
#: whole package; ``plugins.api`` beside ``plugins`` splits one in two.
TABLE = {
    'errors': (),
    'version': (),
    'trouble': (),
    'resource': (),
    'triggers': ('errors',),
    'graph': ('resource', 'errors'),
    'parameters': ('errors',),
    'credentials': ('errors',),
    'conf': ('errors', 'version', 'protection.options'),
    'plugins.api': ('errors', 'resource'),
    'installed': ('errors',),
    'protectables': ('installed', 'plugins.api', 'resource', 'errors'),
    'previews': ('installed', 'plugins.api', 'resource', 'errors'),
    'policies': ('errors',),
    'logs': (),
    'context': ('errors', 'logs'),
    'policy': ('policies', 'context', 'errors'),
    'patience': ('context', 'errors'),
    'keystone': ('context', 'errors', 'patience'),
    'delegation': ('keystone', 'errors'),
    'clients': ('keystone', 'errors'),
    'restore_targets': ('keystone', 'errors'),
    'rpc': ('context', 'errors', 'trouble'),
    'notifications': ('rpc', 'context', 'errors'),
    'store': ('context', 'errors'),
    'quota': ('store', 'errors'),
    'presence': ('store', 'trouble', 'version'),
    'bank': ('context', 'errors'),
    'bank.drivers': ('bank', 'keystone', 'patience', 'errors'),
    'plugins': ('plugins.api', 'clients', 'errors', 'resource'),
    'plugins.image': ('plugins.api', 'clients', 'errors', 'resource'),
    # A server's root disk is an image on its way.
    'plugins.server': (
        'plugins.api', 'plugins.image', 'clients', 'errors', 'resource'),
    'protection.options': (),
    'protection.client': (
        'store', 'quota', 'rpc', 'parameters', 'credentials', 'errors'),
    'protection': (
        'protection.options', 'store', 'bank', 'plugins.api', 'protectables',
        'graph', 'installed', 'context', 'keystone', 'credentials', 'errors',
        'notifications', 'parameters', 'quota', 'resource', 'restore_targets',
        'trouble',
        'patience', 'rpc', 'version'),
    'operationengine.options': (),
    'operationengine.retention': (),
    'operationengine.kinds': ('errors',),
    'operationengine.operations': (
        'operationengine.kinds', 'operationengine.retention', 'errors'),
    'operationengine.own_checkpoints': (
        'operationengine.retention', 'store', 'errors'),
    'operationengine.trusts': ('store', 'errors'),
    'operationengine.firing': ('store', 'errors'),
    'operationengine.client': (
        'operationengine.firing', 'operationengine.kinds',
        'operationengine.own_checkpoints', 'operationengine.trusts',
        'store', 'errors'),
    'operationengine': (
        'operationengine.firing', 'operationengine.kinds',
        'operationengine.own_checkpoints', 'operationengine.trusts',
        'protection.client', 'store', 'triggers',
        'quota', 'delegation', 'presence', 'context', 'errors', 'trouble'),
    'api.options': (),
    'api': (
        'api.options', 'store', 'triggers', 'quota', 'keystone', 'context',
        'policy', 'policies', 'protectables', 'previews', 'graph',
        'resource', 'protection.client', 'operationengine.client',
        'parameters', 'credentials', 'delegation', 'errors',
        'notifications', 'restore_targets', 'trouble'),
    'cmd': ('conf', 'errors'),
    # What cmd.api is for karbor-api, for other servers: puts it together.
    'api.wsgi': (*TOOLS, 'cmd.deployment', 'protection.client', 'api'),
    'cmd.api': ('cmd', 'conf', 'api', 'api.wsgi', 'logs', 'store',
                'presence', 'errors'),
    'cmd.deployment': (
        'credentials', 'errors', 'keystone', 'rpc', 'store'),
    'cmd.protection': (*TOOLS, 'cmd.deployment', 'protection'),
    'cmd.operationengine': (
        *TOOLS, 'cmd.deployment', 'operationengine', 'protection.client',
        'triggers'),
    'cmd.allinone': (*TOOLS, 'api', 'operationengine', 'protection',
                     'protection.client'),
    'cmd.manage': ('cmd', 'cmd.nouns', 'conf', 'errors'),
    # Each noun of karbor-manage goes straight to those who do its work.
    'cmd.nouns': (*TOOLS, 'bank', 'context', 'protection',
                  'protection.client'),
    'cmd.status': (
        'cmd', 'conf', 'store', 'protection', 'credentials', 'keystone',
        'errors'),
}

#: Rows whose modules do not know each other: one file adds one of them.
STRANGERS = ('plugins',)

#: Names that say nothing about what a module holds.
EMPTY_NAMES = {'utils', 'util', 'common', 'helpers', 'helper', 'manager',
               'constants', 'misc'}


def modules():
    """Return ``{dotted name: path}`` of the product, tests left out."""
    found = {}
    for path in sorted(ROOT.rglob('*.py')):
        parts = path.relative_to(ROOT).with_suffix('').parts
        if parts[0] != 'tests':
            name = '.'.join(part for part in parts if part != '__init__')
            found[name] = path
    return found


def row_of(name):
    """Return the row of TABLE that the module belongs to, or None."""
    while name and name not in TABLE:
        name = name.rpartition('.')[0]
    return name or None


def imported(name, path, known):
    """Return ``{(line, dotted name)}`` of our own modules it imports."""
    package = name if path.name == '__init__.py' else name.rpartition('.')[0]
    found = set()
    for node in ast.walk(ast.parse(path.read_text())):
        for target in _targets(node, package, known):
            inside = target.removeprefix(PACKAGE).removeprefix('.')
            if target.split('.')[0] == PACKAGE and inside:
                found.add((node.lineno, inside))
    return found


def _targets(node, package, known):
    if isinstance(node, ast.Import):
        return [alias.name for alias in node.names]
    if isinstance(node, ast.ImportFrom):
        return _from_targets(node, package, known)
    if _is_import_call(node):
        return [node.args[0].value]
    return []


def _from_targets(node, package, known):
    base_name = node.module or ''
    if node.level:
        above = package.split('.')[:len(package.split('.')) - node.level + 1]
        base_name = '.'.join([PACKAGE, *above, base_name]).strip('.')
    targets = []
    for alias in node.names:
        full = f'{base_name}.{alias.name}'
        is_module = full.removeprefix(f'{PACKAGE}.') in known
        targets.append(full if is_module else base_name)
    return targets


def _is_import_call(node):
    """Whether it is importlib.import_module with a name written out."""
    return (isinstance(node, ast.Call) and node.args
            and isinstance(node.args[0], ast.Constant)
            and isinstance(node.args[0].value, str)
            and getattr(node.func, 'attr', getattr(node.func, 'id', None))
            in ('import_module', '__import__'))


def is_allowed(importer, target):
    """Whether the module ``importer`` may import the module ``target``."""
    own, other = row_of(importer), row_of(target)
    if own == other:
        return own not in STRANGERS or importer == target
    return other in TABLE.get(own, ())


class ImportTableTest(base.BaseTestCase):
    """The source keeps to the table."""

    def test_every_module_has_a_row(self):
        self.assertEqual([], [name for name in modules()
                              if name and row_of(name) is None])

    def test_modules_import_what_their_row_allows(self):
        known = modules()
        wrong = []
        for name, path in known.items():
            for line, target in sorted(imported(name, path, known)):
                if name and not is_allowed(name, target):
                    wrong.append(f'{name}:{line} imports {target}')
        self.assertEqual([], wrong)

    def test_the_package_itself_imports_nothing_of_ours(self):
        known = modules()
        self.assertEqual(set(), imported('', known[''], known))

    def test_the_table_has_no_circles(self):
        order = list(graphlib.TopologicalSorter(TABLE).static_order())
        self.assertEqual(set(TABLE), set(order))

    def test_only_conf_names_the_global_configuration(self):
        guilty = [name for name, path in modules().items()
                  if any(isinstance(node, ast.Attribute)
                         and node.attr == 'CONF'
                         for node in ast.walk(ast.parse(path.read_text())))]
        self.assertEqual(['conf'], guilty)

    def test_names_of_modules_say_what_they_hold(self):
        self.assertEqual([], [name for name in modules()
                              if name.rpartition('.')[2] in EMPTY_NAMES])


class ReadingTest(base.BaseTestCase):
    """The reader sees every way to import, so that none goes round it."""

    def _imports_of(self, source, name='store.plans'):
        path = pathlib.Path(self.create_tempfiles(
            [('module', source)], ext='.py')[0])
        known = {'': None, 'errors': None, 'store.query': None,
                 'api.app': None, 'store.plans': path}
        return {target for _, target in imported(name, path, known)}

    def test_plain_import(self):
        self.assertEqual({'api.app'},
                         self._imports_of('import karbor_ng.api.app'))

    def test_module_from_package(self):
        self.assertEqual({'errors', 'store.query'}, self._imports_of(
            'from karbor_ng import errors\n'
            'from karbor_ng.store import query\n'))

    def test_name_from_module(self):
        self.assertEqual({'errors'}, self._imports_of(
            'from karbor_ng.errors import NotFound'))

    def test_relative_import(self):
        self.assertEqual({'store.query', 'api.app'}, self._imports_of(
            'from . import query\nfrom ..api import app\n'))

    def test_import_inside_a_function(self):
        self.assertEqual({'api.app'}, self._imports_of(
            'def f():\n    from karbor_ng.api import app\n'))

    def test_import_by_name(self):
        self.assertEqual({'api.app'}, self._imports_of(
            'import importlib\n'
            'importlib.import_module("karbor_ng.api.app")\n'))

    def test_others_do_not_count(self):
        self.assertEqual(set(), self._imports_of(
            'import os\nfrom oslo_config import cfg\n'))

    def test_a_forbidden_import_is_seen(self):
        self.assertFalse(is_allowed('store.plans', 'api.app'))
        self.assertFalse(is_allowed('plugins.volume', 'plugins.project'))
        self.assertFalse(is_allowed('protection.client', 'protection.flow'))
        self.assertTrue(is_allowed('api.v1.plans', 'protection.client'))


PROGRAMS = [
    (entry.name, {'module': entry.module})
    for entry in importlib.metadata.distribution(PACKAGE).entry_points
    if entry.group == 'console_scripts']

#: Imports the program, then everything else of ours, as plugins would be.
IMPORT_ALL = """
import importlib, pkgutil, sys
importlib.import_module(sys.argv[1])
import karbor_ng
for module in pkgutil.walk_packages(karbor_ng.__path__, 'karbor_ng.'):
    if not module.name.startswith(('karbor_ng.tests',
                                   'karbor_ng.store.migrations')):
        importlib.import_module(module.name)
print(sorted(name for name, module in sys.modules.items()
             if name.partition('.')[0] == 'eventlet' and module))
from oslo_service import backend
print(backend.get_backend_type().name)
"""


class CheapStartTest(base.BaseTestCase):
    """An engine that was killed is back soon, also on a busy machine."""

    #: What takes long to import, and only others need.
    DEAR = ('alembic', 'jinja2', 'webob', 'pecan', 'taskflow', 'cinderclient',
            'novaclient', 'glanceclient', 'neutronclient', 'openstack')

    def test_the_operation_engine_imports_nothing_dear(self):
        ended = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c',
             'import sys; from karbor_ng.cmd import operationengine; '
             'from karbor_ng import conf; conf.prepare(); '
             'print(*sys.modules)'],
            capture_output=True, text=True, timeout=120)
        self.assertEqual(0, ended.returncode, ended.stderr)
        found = {name.partition('.')[0] for name in ended.stdout.split()}
        self.assertIn('sqlalchemy', found)
        self.assertEqual(set(), found & set(self.DEAR))


class EventletTest(testscenarios.WithScenarios, base.BaseTestCase):
    """Our programs are threaded: none of them ever imports eventlet."""

    scenarios = PROGRAMS

    def test_never_imported(self):
        ended = subprocess.run(
            [sys.executable, '-W', 'ignore', '-c', IMPORT_ALL, self.module],
            capture_output=True, text=True, timeout=120)
        self.assertEqual(0, ended.returncode, ended.stderr)
        self.assertEqual(['[]', 'THREADING'], ended.stdout.split())

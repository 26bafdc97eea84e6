# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The installation guide, followed word by word to its first checkpoint.

What stands in for the words that readers replace, and for the commands that
would change the machine, is written down in two tables:
:meth:`GuideTest.list_words` and :meth:`GuideTest.programs`. Everything else runs
as it is printed.
"""

import json
import os
import pathlib
import re
import shlex
import shutil
import socket
import subprocess
import sys
import uuid

import fixtures
from testtools import content

from karbor_ng.tests.functional import base
from karbor_ng.tests.functional import secrecy
from karbor_ng.tests.functional import units

GUIDE = base.ROOT / 'doc' / 'source' / 'install' / 'guide.rst'
BLOCK = re.compile(
    r'^\.\. code-block:: (?P<language>\w+)\n'
    r'(?:   :caption: (?P<file>\S+)\n)?\n'
    r'(?P<text>(?:(?:   .*)?\n)+)', re.MULTILINE)
#: The name where it stands for itself, and not in a path, a file's name or a
#: program's.
NAME = re.compile(r'(?<![\w/.-])karbor(?![\w/-]|\.\w)')
SECONDS = 400
#: What the guide starts.
UNITS = ('karbor-api', 'karbor-protection', 'karbor-operationengine')
#: Replaces in files what :func:`GuideTest.list_words` lists.
REPLACE = """\
import pathlib, re, sys
for path in map(pathlib.Path, sys.argv[1:]):
    text = path.read_text()
    for said, done in {words}:
        text = text.replace(said, done)
    path.write_text(re.sub({pattern!r}, {name!r}, text))
"""
#: Prints the ports of the stack.
PORTS = """\
import json, sys
sys.path.insert(0, sys.argv[1])
import ports
print(json.dumps({name: ports.port(name) for name in ports.TABLE}))
"""


def blocks(text):
    """Return ``(file or None, text)`` of all blocks, in their order."""
    return [(match['file'], '\n'.join(
        line[3:] for line in match['text'].rstrip().splitlines()))
        for match in BLOCK.finditer(text)]


def script(text):
    """Return the guide as one program for bash."""
    lines = ['set -eu -o pipefail']
    for file, block in blocks(text):
        if file:
            lines += [f'cat > {file} <<"END OF FILE"', block, 'END OF FILE']
            continue
        for line in block.splitlines():
            prompt, _space, command = line.partition(' ')
            if prompt not in ('#', '$', '>'):
                raise AssertionError(f'No prompt: {line}')
            if prompt != '>':
                lines.append(f'echo {shlex.quote(line)}')
            lines.append(command)
    return '\n'.join(lines) + '\n'


def stack_ports():
    """Return ``{service: port}`` of the stack."""
    return json.loads(subprocess.run(
        [sys.executable, '-B', '-c', PORTS,
         base.ROOT / 'tools' / 'stack.d'], check=True, text=True,
        capture_output=True, env=base.ENVIRONMENT).stdout)


def free_port():
    with socket.socket() as probe:
        probe.bind(('127.0.0.1', 0))
        return probe.getsockname()[1]


class GuideTest(base.StackTestCase):

    def setUp(self):
        super().setUp()
        if os.getuid() != 0:
            self.skipTest('Installing needs root.')
        self.name = f'guide{uuid.uuid4().hex[:8]}'
        self.root = pathlib.Path(self.useFixture(
            fixtures.TempDir(rootdir='/tmp')).path)
        # The services run as somebody else.
        self.root.chmod(0o755)
        for folder in ('bin', 'run', 'opt', 'var/lib', 'etc/systemd/system'):
            (self.root / folder).mkdir(parents=True)
        self.ports = stack_ports()
        self.port = free_port()
        self.words = self.list_words()
        self.write_programs()
        self.addCleanup(self.remove)

    def list_words(self):
        """What readers replace, and what the shared stack has taken.

        Pairs of what the guide says and what is done here, in this order.
        """
        database, broker = self.ports['mariadb'], self.ports['rabbitmq']
        return (
            ('REPOSITORY', str(base.ROOT)),
            ('DATABASE_PASSWORD@controller/karbor',
             f'DATABASE_PASSWORD@127.0.0.1:{database}/{self.name}'),
            ('RABBIT_PASSWORD@controller/karbor',
             f'RABBIT_PASSWORD@127.0.0.1:{broker}/{self.name}'),
            ('controller:5000', f'127.0.0.1:{self.ports["keystone"]}'),
            ('controller:8799', f'127.0.0.1:{self.port}'),
            ('0.0.0.0:8799', f'127.0.0.1:{self.port}'),
            *((f'{who}_PASSWORD', uuid.uuid4().hex)
              for who in ('DATABASE', 'RABBIT', 'KARBOR')),
            ('://karbor:', f'://{self.name}:'),
            ('data-protect', f'data-protect-{self.name}'),
            ('first-volume', f'{self.name}-volume'),
            *((path, f'{self.root}{path}') for path in (
                '/opt/karbor', '/etc/karbor', '/var/lib/karbor',
                '/etc/systemd/system')))

    def programs(self):
        """Programs that are found before those of the machine."""
        rabbit = base.STACK / 'rabbitmq'
        cloud = subprocess.run(
            [base.ROOT / 'tools' / 'venv', 'cloud'], check=True, text=True,
            capture_output=True, env=base.ENVIRONMENT).stdout.strip()
        return {
            # The machine has what it would install.
            'apt-get': 'true',
            'openstack': f'exec {cloud}/bin/openstack "$@"',
            # As administrators of the stack's database and broker.
            'mysql': 'exec mariadb --no-defaults --user=root --socket='
                     f'{base.STACK}/data/mariadb/mysqld.sock "$@"',
            'rabbitmqctl':
                f'HOME={rabbit} RABBITMQ_NODENAME=stack@localhost '
                f'ERL_EPMD_PORT={self.ports["epmd"]} RABBITMQ_CONF_ENV_FILE='
                f'{rabbit}/rabbitmq-env.conf '
                'exec /usr/lib/rabbitmq/bin/rabbitmqctl "$@"',
            # The samples in what is cloned name our paths too.
            'git': '/usr/bin/git "$@" && find "${@: -1}/etc" -type f '
                   f'-exec {sys.executable} {self.root}/bin/replace {{}} +',
            'systemctl': f'exec {sys.executable} {units.__file__} "$@"'}

    def write_programs(self):
        for name, command in self.programs().items():
            path = self.root / 'bin' / name
            path.write_text(f'#!/bin/bash\n{command}\n')
            path.chmod(0o755)
        (self.root / 'bin' / 'replace').write_text(REPLACE.format(
            words=self.words, name=self.name,
            pattern=NAME.pattern))

    def environment(self):
        """What stands for the places that services find by themselves."""
        options = {
            'OS_PROTECTION__PROVIDER_CONFIG_DIR':
                f'{self.root}/etc/karbor/providers.d',
            'OS_DEFAULT__STATE_PATH': f'{self.root}/var/lib/karbor',
            'OS_DEFAULT__OSAPI_KARBOR_LISTEN': '127.0.0.1',
            'OS_DEFAULT__OSAPI_KARBOR_LISTEN_PORT': str(self.port),
            'OS_DEFAULT__OSAPI_KARBOR_WORKERS': '1',
            'OS_DEFAULT__HOST': self.name}
        return {
            **base.ENVIRONMENT, **options,
            'OPTIONS': json.dumps(options),
            'UNITS': f'{self.root}/etc/systemd/system',
            'RUN': f'{self.root}/run',
            'PATH': f'{self.root}/bin:/usr/sbin:/usr/bin:/sbin:/bin',
            'OS_CLIENT_CONFIG_FILE': str(base.STACK / 'clouds.yaml'),
            'NO_PROXY': '127.0.0.1', 'no_proxy': '127.0.0.1'}

    def run_script(self, text):
        """Run it; return exit code and what it printed."""
        ended = subprocess.run(
            ['bash', '-c', text], env=self.environment(), cwd=self.root,
            stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT, text=True, timeout=SECONDS)
        return ended.returncode, ended.stdout

    def remove(self):
        """Remove what the guide has made outside of our directory."""
        self.run_script(f'systemctl stop {" ".join(UNITS)}')
        for log in (self.root / 'run').glob('*.log'):
            secrecy.keep_log(log)
            self.addDetail(log.name, content.text_content(log.read_text()))
        for volume in self.demo.cloud.block_storage.volumes(
                name=f'{self.name}-volume'):
            self.remove_volume(volume)
        for command in (
                f'mysql --execute "DROP DATABASE IF EXISTS {self.name}"',
                f'mysql --execute "DROP USER IF EXISTS {self.name}"',
                f'rabbitmqctl delete_vhost {self.name}',
                f'rabbitmqctl delete_user {self.name}',
                'openstack --os-cloud admin service delete '
                f'data-protect-{self.name}',
                f'openstack --os-cloud admin user delete {self.name}',
                f'userdel {self.name}'):
            self.run_script(command)

    def remove_volume(self, volume):
        for backup in self.demo.backups_of(volume.id):
            self.demo.cloud.block_storage.delete_backup(backup.id)
        base.wait(lambda: not self.demo.backups_of(volume.id))
        self.demo.delete_volume(volume.id)

    def test_to_the_first_checkpoint(self):
        text = GUIDE.read_text()
        for said, done in self.words:
            text = text.replace(said, done)
        code, printed = self.run_script(
            script(NAME.sub(self.name, text)))
        self.assertEqual(0, code, printed[-5000:])
        for unit in UNITS:
            self.check_unit(unit)
        # From karbor-api's own server, and from uWSGI.
        self.assertEqual(2, printed.count('{"status": "ok", "checks"'),
                         printed)
        self.assertIn('uWSGI', (
            self.root / 'run' / 'karbor-api.log').read_text())
        checkpoint = printed[printed.index('{\n    "checkpoint"'):]
        found, _end = json.JSONDecoder().raw_decode(checkpoint)
        self.assertEqual('available', found['checkpoint']['status'], found)
        self.check_secrets()

    def check_unit(self, name):
        """systemd itself has nothing to say against the unit."""
        if not shutil.which('systemd-analyze'):
            return
        folder = self.root / 'etc' / 'systemd' / 'system'
        ended = subprocess.run(
            ['systemd-analyze', 'verify', '--man=no',
             f'{folder}/{name}.service'], capture_output=True, text=True)
        self.assertNotIn(name, ended.stdout + ended.stderr)

    def check_secrets(self):
        """Nobody else can read them."""
        folder = self.root / 'etc' / 'karbor'
        for path in (folder, folder / 'karbor.conf',
                     *folder.glob('providers.d/*.conf')):
            self.assertEqual(0, path.stat().st_mode & 0o007, path)

    def test_twelve_lines_are_enough(self):
        files = dict(blocks(GUIDE.read_text()))
        settings = [line for line
                    in files['/etc/karbor/karbor.conf'].splitlines()
                    if '=' in line]
        self.assertEqual(12, len(settings))

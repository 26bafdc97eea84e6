# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Makes the state that a new cloud begins with, or takes it from the cache.

Separate because it happens once in the life of a stack: schemas, keystone's
keys and catalogue, swift's rings.  All of it lives in .stack/data and names
no path, only ports; so it is kept in the cache under a name made of what
went into it, and a new checkout unpacks it instead of making it again.
"""

import concurrent.futures
import hashlib
import os
import shutil
import subprocess
import sys

import databases
import environment
import paths
import ports
import processes
import render
import venvs

DATA = paths.STATE / 'data'
FINISHED = DATA / 'finished'
RINGS = ('account', 'container', 'object')


def state(cloud, stack):
    """Leave a finished .stack/data; `stack` starts and awaits services."""
    if not FINISHED.exists() and not _unpack():
        _make(cloud, stack)
        _pack(stack)
    for ring in RINGS:
        shutil.copy(DATA / 'rings' / f'{ring}.ring.gz', paths.ETC / 'swift')


def _make(cloud, stack):
    DATA.mkdir(parents=True, exist_ok=True)
    databases.install()
    stack.start('mariadb', 'memcached')
    env = environment.of_services(cloud)
    jobs = [(_keystone, cloud, env, stack)]
    jobs += [(_schema, service, cloud, env)
             for service in databases.SCHEMAS if service != 'keystone']
    jobs.append((_once, 'rings', _rings, cloud))
    _together(jobs)


def _together(jobs):
    """Run all jobs, as many at a time as there are processors; the first
    failure ends what has not begun."""
    pool = concurrent.futures.ThreadPoolExecutor(os.cpu_count())
    try:
        for job in [pool.submit(*job) for job in jobs]:
            job.result()
    finally:
        pool.shutdown(cancel_futures=True)


def _once(mark, step, *arguments):
    """Run a step unless it was finished in an earlier run."""
    path = DATA / 'marks' / mark
    if path.exists():
        return
    step(*arguments)
    path.parent.mkdir(exist_ok=True)
    path.touch()
    processes.say(f'{mark} ready')


def _schema(service, cloud, env):
    _once(f'schema-{service}', databases.make_schema, service, cloud, env)


def _keystone(cloud, env, stack):
    _schema('keystone', cloud, env)
    _once('keystone-keys', _keystone_keys, cloud, env)
    stack.start('keystone')
    _once('catalogue', _seed, cloud, 'catalogue')


def _keystone_keys(cloud, env):
    manage = [cloud / 'bin' / 'keystone-manage', '--config-file',
              paths.ETC / 'keystone' / 'keystone.conf']
    for kind in ('fernet', 'credential'):
        shutil.rmtree(DATA / 'keystone' / f'{kind}-keys', ignore_errors=True)
        (DATA / 'keystone').mkdir(exist_ok=True)
        databases.run(
            [*manage, f'{kind}_setup', '--keystone-user', str(os.getuid()),
             '--keystone-group', str(os.getgid())], env, 'keystone-keys')
    databases.run(
        [*manage, 'bootstrap', '--bootstrap-password', render.PASSWORD,
         '--bootstrap-region-id', render.REGION,
         *(word for kind in ('admin', 'public', 'internal')
           for word in (f'--bootstrap-{kind}-url', render.auth_url()))],
        env, 'keystone-keys')


def _rings(cloud):
    shutil.rmtree(DATA / 'rings', ignore_errors=True)
    (DATA / 'rings').mkdir(parents=True)
    for ring in RINGS:
        builder = [cloud / 'bin' / 'swift-ring-builder',
                   DATA / 'rings' / f'{ring}.builder']
        device = f'r1z1-{ports.IP}:{ports.port(f"swift_{ring}")}/disk'
        for words in (['create', '6', '1', '1'], ['add', device, '1'],
                      ['rebalance']):
            databases.run([*builder, *words], None, 'rings')


def seed(cloud):
    """Image, flavours and outer network; quick when they are there."""
    _seed(cloud, 'seed')


def _seed(cloud, what):
    env = dict(environment.of_services(cloud), **environment.of_user())
    env.pop('OS_CLIENT_CONFIG_FILE')
    databases.run([cloud / 'bin' / 'python', paths.HERE / 'seed.py', what],
                  env, 'seed')


def _pack(stack):
    """Keep the finished data in the cache; the servers rest meanwhile."""
    stack.stop('keystone', 'mariadb')
    FINISHED.touch()
    target = _saved()
    target.parent.mkdir(parents=True, exist_ok=True)
    part = target.with_name(f'{target.name}.{os.getpid()}')
    subprocess.run(['tar', '-C', DATA.parent, '-I', 'gzip -1', '-cSf', part,
                    DATA.name], check=True)
    part.rename(target)
    processes.say(f'kept a copy of the new state as {target}')


def _unpack():
    """Take the state from the cache; False if it has none that fits."""
    saved = _saved()
    if not saved.exists() or DATA.exists():
        return False
    part = paths.STATE / 'data.part'
    shutil.rmtree(part, ignore_errors=True)
    part.mkdir(parents=True)
    subprocess.run(['tar', '-C', part, '-xzSf', saved], check=True)
    (part / DATA.name).rename(DATA)
    part.rmdir()
    processes.say(f'took the state from {saved}')
    return True


def _saved():
    return paths.CACHE / 'stack' / f'data-{_ingredients()}.tar.gz'


def _ingredients():
    """Everything the data depends on, as one short name."""
    digest = hashlib.sha256()
    for part in (venvs.folder('cloud').name, str(ports.offset()),
                 _server_version(), str(sys.byteorder)):
        digest.update(part.encode())
    templates = [path for path in paths.TEMPLATES.rglob('*.*')
                 if path.is_file() and 'karbor' not in path.parts]
    code = [paths.HERE / name for name in (
        'databases.py', 'ports.py', 'prepare.py', 'render.py', 'seed.py')]
    for path in sorted(templates) + code:
        digest.update(path.read_bytes())
    return digest.hexdigest()[:16]


def _server_version():
    return subprocess.run(['/usr/sbin/mariadbd', '--version'],
                          capture_output=True, text=True).stdout

# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The virtual environments that tools/ and the test runs stand on.

Separate because tools/venv and tools/stack both need them and neither owns
the other.  An environment is named after everything that decides its content,
so that a changed lock file makes a new one and never mends an old one.
"""

import contextlib
import fcntl
import hashlib
import os
import pathlib
import shutil
import subprocess
import sys

import paths

NAMES = ('cloud', 'product', 'client', 'osc', 'osc-newest', 'schemathesis')
UV = 'uv==0.13.8'
LOCK_PYTHON = '3.11'
MARKER = 'complete'
EDITABLE = 'editable'
OWNER = 'checkout'


def say(text):
    """Tell progress on standard error: standard output carries the result."""
    print(text, file=sys.stderr, flush=True)


def ready(name):
    """Return the folder of environment NAME, which is made if it is missing.

    Safe to call from several processes at once.  Raises
    subprocess.CalledProcessError when the installation fails; the next call
    starts afresh.
    """
    venv = folder(name)
    with _locked(venv):
        if not (venv / MARKER).exists():
            _forget_lost_checkouts()
            _build(name, venv)
        if name == 'product':
            _install_checkout(venv)
    return venv


def lock(name):
    """Resolve constraints/NAME.in into constraints/NAME.txt.

    Pins that are still allowed stay: delete the file first to move
    everything to the newest releases.
    """
    source = paths.CONSTRAINTS / f'{name}.in'
    _uv('pip', 'compile', '--quiet', '--universal',
        '--python-version', LOCK_PYTHON,
        '--no-header', '--annotation-style', 'line', source.name,
        '-o', lock_file(name).name, cwd=paths.CONSTRAINTS)
    return lock_file(name)


def lock_file(name):
    return paths.CONSTRAINTS / f'{name}.txt'


def folder(name):
    """Name the environment after lock file, interpreter and, if it holds
    the checkout itself, the checkout."""
    parts = [_pins(name), sys.version, os.path.realpath(sys.executable)]
    if name == 'product':
        parts.append(str(paths.CHECKOUT))
    digest = hashlib.sha256('\n'.join(parts).encode()).hexdigest()[:16]
    return paths.CACHE / 'venvs' / f'{name}-{digest}'


def _pins(name):
    lines = lock_file(name).read_text().splitlines()
    pins = (line.partition('#')[0].strip() for line in lines)
    return '\n'.join(pin for pin in pins if pin)


@contextlib.contextmanager
def _locked(venv):
    venv.parent.mkdir(parents=True, exist_ok=True)
    with open(venv.parent / f'.{venv.name}.lock', 'w') as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say(f'waiting for whoever is making {venv}')
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def _forget_lost_checkouts():
    """Remove product environments whose checkout is not there any more."""
    for owner in (paths.CACHE / 'venvs').glob(f'product-*/{OWNER}'):
        if not pathlib.Path(owner.read_text()).exists():
            shutil.rmtree(owner.parent, ignore_errors=True)


def _build(name, venv):
    say(f'making {venv} (a few minutes, once)')
    shutil.rmtree(venv, ignore_errors=True)
    _uv('venv', '--quiet', '--no-project', '--python', sys.executable, venv)
    _install(venv, '--no-deps', '-r', lock_file(name))
    _compile(venv)
    (venv / OWNER).write_text(str(paths.CHECKOUT))
    (venv / MARKER).touch()


def _install(venv, *what, env=()):
    """Install with uv; where only pip knows the way to an index, with pip."""
    python = venv / 'bin' / 'python'
    try:
        _uv('pip', 'install', '--quiet', '--python', python, *what, env=env)
    except subprocess.CalledProcessError:
        say('uv failed, see above; pip tries the same, more slowly')
        pip = _uv_program().with_name('pip')
        subprocess.run([pip, '--python', python, 'install', '--quiet', *what],
                       check=True, stdout=sys.stderr,
                       env=dict(os.environ, **dict(env)))


def _compile(venv):
    """Write the .pyc files: uv does not, and without them every start of a
    service compiles its imports again where PYTHONDONTWRITEBYTECODE is set.
    The packages' own tests are never imported: leaving them out halves it.
    """
    subprocess.run(
        [venv / 'bin' / 'python', '-m', 'compileall', '-q', '-j0',
         '-x', '/tests?/', venv / 'lib'],
        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)


def _install_checkout(venv):
    """Put the checkout itself into the environment, editable.

    Entry points are copied at that moment, so it is done again whenever a
    file that declares them has changed.
    """
    done = venv / EDITABLE
    digest = _packaging_digest()
    if done.exists() and done.read_text() == digest:
        return
    say(f'installing {paths.CHECKOUT} into {venv}')
    _install(venv, '--no-deps', '--no-build-isolation',
             '-e', paths.CHECKOUT, env={'SKIP_GENERATE_AUTHORS': '1',
                                        'SKIP_WRITE_GIT_CHANGELOG': '1'})
    done.write_text(digest)


def _packaging_digest():
    digest = hashlib.sha256()
    for name in ('setup.cfg', 'setup.py', 'pyproject.toml'):
        path = paths.CHECKOUT / name
        digest.update(path.read_bytes() if path.exists() else b'-')
    return digest.hexdigest()


def _uv(*arguments, cwd=None, env=()):
    env = dict(os.environ, UV_SYSTEM_CERTS='1', **dict(env))
    env.setdefault('UV_CACHE_DIR', str(paths.CACHE / 'uv'))
    subprocess.run([_uv_program(), *arguments], check=True, cwd=cwd, env=env,
                   stdin=subprocess.DEVNULL, stdout=sys.stderr)


def _uv_program():
    """Return uv from a small environment of its own, made if missing."""
    home = paths.CACHE / 'venvs' / f'{UV.replace("==", "-")}-{_tag()}'
    program = home / 'bin' / 'uv'
    with _locked(home):
        if not (home / MARKER).exists():
            _bootstrap(home)
    return program


def _tag():
    return hashlib.sha256(
        f'{sys.version}{sys.executable}'.encode()).hexdigest()[:8]


def _bootstrap(home):
    shutil.rmtree(home, ignore_errors=True)
    made = subprocess.run([sys.executable, '-m', 'venv', home],
                          stdout=subprocess.DEVNULL)
    if made.returncode:
        raise SystemExit(
            f'{sys.executable} cannot make virtual environments; on Debian: '
            'apt-get install python3-venv')
    subprocess.run([home / 'bin' / 'pip', 'install', '--quiet', UV],
                   check=True, stdout=sys.stderr)
    pathlib.Path(home / MARKER).touch()

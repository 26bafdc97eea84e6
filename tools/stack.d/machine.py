# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Asks whether this machine can carry the stack, and installs what it lacks.

Separate because all of it happens before anything is started, and because a
clear sentence here saves an hour in a service's log.
"""

import os
import pathlib
import re
import shutil
import subprocess
import tempfile

import paths
import ports
import processes

MEMORY_GIB = 6
DISK_GIB = 8


def check():
    """Raise SystemExit with what to do if the stack could not run here."""
    check_packages()
    if not processes.running():
        _check_memory()
        _check_disk()
    _check_attributes()
    _check_ports()


def check_packages():
    """Install those system packages of bindep.txt that are missing."""
    missing = _missing_packages()
    if missing:
        _install(missing)


def _missing_packages():
    if not shutil.which('dpkg-query'):
        raise SystemExit(
            'tools/stack knows Debian and its kin only (no dpkg-query here); '
            f'it needs these packages: {" ".join(_packages())}')
    return [name for name in _packages() if not _installed(name)]


def _packages():
    """Names from bindep.txt."""
    lines = (paths.CHECKOUT / 'bindep.txt').read_text().splitlines()
    return [line.split()[0] for line in lines
            if line and not line.startswith('#')]


def _installed(package):
    asked = subprocess.run(
        ['dpkg-query', '-W', '-f', '${Status}', package],
        capture_output=True, text=True)
    return asked.stdout.endswith(' installed')


def _install(packages):
    command = ['apt-get', 'install', '-y', '-qq', '--no-install-recommends',
               *packages]
    by_hand = f'run: sudo apt-get install {" ".join(packages)}'
    become = [] if os.getuid() == 0 else ['sudo', '-n']
    if become and subprocess.run(['sudo', '-n', 'true'],
                                 capture_output=True).returncode:
        raise SystemExit(f'packages are missing; {by_hand}')
    processes.say(f'installing {" ".join(packages)}')
    # RUNLEVEL=1: Debian shall not start services of its own.
    environment = ['env', 'DEBIAN_FRONTEND=noninteractive', 'RUNLEVEL=1']
    subprocess.run([*become, *environment, 'apt-get', 'update', '-qq'],
                   stdout=subprocess.DEVNULL)
    if subprocess.run([*become, *environment, *command],
                      stdout=subprocess.DEVNULL).returncode:
        raise SystemExit(f'apt-get failed; {by_hand}')


def _check_memory():
    text = pathlib.Path('/proc/meminfo').read_text()
    kilobytes = int(re.search(r'MemAvailable:\s+(\d+)', text).group(1))
    if kilobytes < MEMORY_GIB << 20:
        raise SystemExit(
            f'the stack needs {MEMORY_GIB} GiB of available memory, '
            f'{kilobytes / (1 << 20):.1f} GiB are there')


def _check_disk():
    free = shutil.disk_usage(paths.CHECKOUT).free
    if free < DISK_GIB << 30:
        raise SystemExit(
            f'the stack needs {DISK_GIB} GiB free on the disk of '
            f'{paths.CHECKOUT}, {free / (1 << 30):.1f} GiB are there')


def _check_attributes():
    """Swift keeps each object's metadata in extended attributes."""
    paths.STATE.mkdir(exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=paths.STATE) as probe:
        try:
            os.setxattr(probe.name, 'user.probe', b'1')
        except OSError as error:
            raise SystemExit(
                f'Swift needs a file system with extended attributes under '
                f'{paths.STATE}: {error}') from error


def _check_ports():
    """Every port is free or held by a process of this very stack."""
    taken = ports.listeners()
    ours = processes.all_members()
    for name in ports.TABLE:
        number = ports.port(name)
        if number in taken:
            holder = ports.owner(taken[number])
            if holder not in ours and not name.startswith('test_'):
                raise SystemExit(_occupied(name, number, holder))


def _occupied(name, number, holder):
    who = 'a process of another user'
    if holder:
        command = pathlib.Path(f'/proc/{holder}/cmdline').read_bytes()
        who = f'process {holder} ({command[:160].decode(errors="replace")})'
    return (f'port {number}, wanted for {name}, is held by '
            f'{who.replace(chr(0), " ")}; stop it or set STACK_PORT_OFFSET, '
            'for instance to 1000')

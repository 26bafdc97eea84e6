# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""As much of systemctl as an installation guide needs, without systemd.

A program of its own, because a guide's commands start it by name. It starts
what units name, as the user and with the environment that they name, and
returns when the service has said that it is ready. What units forbid a
service is not enforced.

``UNITS`` names the directory of units, ``RUN`` one for what is running,
``OPTIONS`` what the environment of services has beside that of the units, as
JSON.
"""

import json
import os
import pathlib
import shlex
import signal
import socket
import subprocess
import sys
import time

READY_SECONDS = 120


class Unit:
    """One service and its drop-ins."""

    def __init__(self, name):
        units, run = (pathlib.Path(os.environ[variable])
                      for variable in ('UNITS', 'RUN'))
        self.name = name
        self.log = run / f'{name}.log'
        self._pid = run / f'{name}.pid'
        self._address = run / f'{name}.notify'
        self._settings = {}
        for path in (units / f'{name}.service',
                     *sorted(units.glob(f'{name}.service.d/*.conf'))):
            self._read(path)

    def _read(self, path):
        for line in path.read_text().splitlines():
            key, equals, value = line.partition('=')
            if equals and not line.startswith('#'):
                # An empty value forgets what came before.
                self._settings[key] = (
                    [*self._settings.get(key, ()), value] if value else [])

    def start(self):
        """Start it; return when it is ready.

        :raises SystemExit: it ended, or did not become ready in time
        """
        command, = self._settings['ExecStart']
        with (socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as channel,
              open(self.log, 'a') as log):
            self._address.unlink(missing_ok=True)
            channel.bind(str(self._address))
            self._address.chmod(0o777)
            process = subprocess.Popen(
                shlex.split(command), cwd='/', stdin=subprocess.DEVNULL,
                stdout=log, stderr=log, start_new_session=True,
                user=self._settings['User'][-1], extra_groups=(),
                group=self._settings['Group'][-1], env=self._environment())
            self._pid.write_text(str(process.pid))
            self._wait(process, channel)

    def _environment(self):
        given = dict(line.split('=', 1)
                     for line in self._settings.get('Environment', ()))
        return {'PATH': '/usr/bin:/bin', 'LANG': 'C.UTF-8',
                'NOTIFY_SOCKET': str(self._address), **given,
                **json.loads(os.environ['OPTIONS'])}

    def _wait(self, process, channel):
        channel.settimeout(0.5)
        until = time.monotonic() + READY_SECONDS
        while time.monotonic() < until and process.poll() is None:
            try:
                if 'READY=1' in channel.recv(4096).decode().splitlines():
                    return
            except TimeoutError:
                continue
        sys.exit(f'{self.name} is not ready: {self.log.read_text()}')

    def stop(self):
        """End it, if it runs."""
        if not self._pid.exists():
            return
        pid = int(self._pid.read_text())
        try:
            os.kill(pid, signal.SIGTERM)
            while True:
                os.kill(pid, 0)
                time.sleep(0.1)
        except ProcessLookupError:
            self._pid.unlink()


def main(verb, *words):
    """Do what systemctl does: daemon-reload, enable --now, restart, stop."""
    if verb == 'daemon-reload':
        return
    for name in words:
        if name.startswith('--'):
            continue
        if verb in ('restart', 'stop'):
            Unit(name).stop()
        if verb in ('restart', 'enable'):
            Unit(name).start()


if __name__ == '__main__':
    main(*sys.argv[1:])

# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Run the suites and say what passed, failed and was skipped.

    tools/test                      all of those below
    tools/test SUITE [FILTER]       one of them, or docs

style: what tox.ini lists for pep8, genconfig, genpolicy, docs, releasenotes.
unit: on SQLite, MariaDB and PostgreSQL.
openapi: what schemathesis makes of the description of the API; counts paths
and methods.
crashes: each operation, killed at each boundary of its journal in turn, and
stopped at some of them and woken too late; the filter is the name of one, such
as restore or "paused restore".
faults: each call that operations make to clouds, banks and the broker, failing
in many ways; the filter is the name of an operation.
functional: against the stack, which is brought up (and left up) for it:
volumes, banks, and what keeps the services going.
applications: the same, for servers, images, projects, verifications, tokens
that end, and what operators do.
clients: the same, for Karbor's own command lines, each of whose commands and
options must have been given in the end.
Of functional, applications and clients none may let a secret out: what the
tests used is looked for in all that the product has written meanwhile.
outages: the same, alone: broker, bank, database and Keystone go away.

FILTER is a regular expression for the names of tests; with one, functional,
applications, clients and outages all run whatever of the four has such a name.
A skipped test fails its suite, and so does a suite that exceeds its budget.
Ends with the line "N passed, N failed, N skipped"; exit code 0 or 1.
"""

import concurrent.futures
import configparser
import contextlib
import dataclasses
import os
import pathlib
import re
import shlex
import signal
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parents[1]
CHECKOUT = HERE.parent
sys.path.insert(0, str(HERE / 'stack.d'))
sys.dont_write_bytecode = True

import machine  # noqa: E402
import venvs  # noqa: E402

#: Seconds that a suite may take; the stack's counts once it is installed.
BUDGETS = {'style': 240, 'docs': 240, 'unit': 1200, 'openapi': 240,
           'crashes': 600, 'faults': 360, 'stack': 240, 'functional': 960,
           'applications': 960, 'clients': 720, 'outages': 480}
#: Functional tests that are suites of their own.
APPLICATIONS = (r'functional\.test_(application|project|server|image|'
                r'shared_streams|recovery|install_guide|abort|dry_runs|demo|'
                r'restore_targets|verifications|token_expiry)')
CLIENTS = r'functional\.test_client'
OUTAGES = r'functional\.test_outages'
#: Suites that need the stack.
ON_THE_STACK = ('functional', 'applications', 'clients', 'outages')
#: A suite that takes so many times its budget hangs, and is ended.
PATIENCE = 2
#: tox environments whose commands are the suite, the longest first.
ENVIRONMENTS = {
    'style': ('docs', 'pep8', 'genconfig', 'genpolicy', 'releasenotes'),
    'docs': ('docs', 'releasenotes'),
}
#: Processes that live now.
RUNNING = set()


@dataclasses.dataclass
class Result:
    """How a suite, or a part of it, went."""

    suite: str
    passed: int = 0
    failed: int = 0
    skipped: int = 0
    seconds: float = 0
    remark: str = ''

    @property
    def good(self):
        return not self.failed and not self.skipped

    def fail(self, remark):
        self.failed += 1
        self.remark = remark


class Hung(Exception):
    """A command was ended because it took far too long."""


def run(command, timeout=None, **options):
    """Run a command in a process group of its own; return it, ended.

    The whole group ends when the time is over (Hung) and when we are ended.
    """
    options.setdefault('stdin', subprocess.DEVNULL)
    with subprocess.Popen(command, cwd=CHECKOUT, text=True,
                          start_new_session=True, **options) as process:
        RUNNING.add(process)
        try:
            process.output, _ = process.communicate(timeout=timeout)
        except subprocess.TimeoutExpired:
            raise Hung(f'{shlex.join(map(str, command))}: ended after '
                       f'{timeout:.0f} s') from None
        finally:
            end(process)
            RUNNING.discard(process)
    return process


def end(process):
    if process.poll() is None:
        os.killpg(process.pid, signal.SIGKILL)


def end_all(number, _frame):
    """On a signal: end what runs, then ourselves."""
    for process in list(RUNNING):
        end(process)
    sys.exit(128 + number)


def product():
    """Return the environment for commands in the product's virtualenv."""
    folder = run([HERE / 'venv', 'product'], stdout=subprocess.PIPE)
    if folder.returncode:
        sys.exit('tools/venv product failed: see above')
    venv = pathlib.Path(folder.output.strip())
    return dict(os.environ, VIRTUAL_ENV=str(venv),
                PATH=f'{venv / "bin"}:{os.environ["PATH"]}')


def style(environment, _pattern=None, suite='style'):
    """Run the commands of tox environments, two environments at once."""
    result = Result(suite)
    with concurrent.futures.ThreadPoolExecutor(2) as pool:
        for name, command, ended, output in _flat(pool.map(
                lambda name: list(_checks(name, environment)),
                ENVIRONMENTS[suite])):
            print(f'{name:<13} {"ok" if not ended else "FAILED":<7} '
                  f'{command}', flush=True)
            if ended:
                result.fail('see above')
                print(output, flush=True)
            else:
                result.passed += 1
    return result


def docs(environment, _pattern=None):
    """Run those commands of the style suite that build documents."""
    return style(environment, suite='docs')


def _flat(lists):
    for one in lists:
        yield from one


def _checks(name, environment):
    """Yield name, command, exit code and output per command of one."""
    for command in commands_of(name):
        ended = run(shlex.split(command), BUDGETS['style'] * PATIENCE,
                    env=environment, stdout=subprocess.PIPE,
                    stderr=subprocess.STDOUT)
        yield name, command, ended.returncode, ended.output


def commands_of(name):
    """Return the command lines that tox.ini has for an environment."""
    tox = configparser.ConfigParser(interpolation=None)
    tox.read(CHECKOUT / 'tox.ini')
    lines = tox[f'testenv:{name}']['commands'].strip().splitlines()
    return [line.strip().replace('{toxinidir}', str(CHECKOUT))
            for line in lines]


def unit(environment, pattern=None):
    """Run the unit tests on three databases."""
    found = run([HERE / 'testdb', 'up'], stdout=subprocess.PIPE,
                env=environment)
    if found.returncode:
        result = Result('unit')
        result.fail('no databases: see above')
        return result
    return stestr('unit', environment | variables(found.output), pattern)


def variables(text):
    """Return the KARBOR_TEST_... variables in lines of NAME=VALUE."""
    pairs = re.findall(r'^(?:export )?(KARBOR_TEST_\w+)=(.*)$', text, re.M)
    return {name: ''.join(shlex.split(value)) for name, value in pairs}


def openapi(environment, pattern=None):
    """Let schemathesis ask the API; a pattern chooses operations."""
    result = Result('openapi')
    made = run([HERE / 'venv', 'schemathesis'], stdout=subprocess.PIPE)
    found = run([HERE / 'testdb', 'up'], stdout=subprocess.PIPE,
                env=environment)
    if made.returncode or found.returncode:
        result.fail('no schemathesis or no database: see above')
        return result
    chosen = ['--include-operation-id-regex', pattern] if pattern else []
    ended = run(['python', '-W', 'ignore', '-m', 'karbor_ng.tests.openapi',
                 pathlib.Path(made.output.strip()) / 'bin' / 'st', *chosen],
                BUDGETS['openapi'] * PATIENCE, stdout=subprocess.PIPE,
                env=environment | variables(found.output))
    print(ended.output, flush=True)
    told = re.search(r'^(\d+) operations, .*, (\d+) failures, .*$',
                     ended.output, re.M)
    if told is None:
        result.fail('schemathesis did not end: see above')
        return result
    result.remark = told.group()
    result.passed, result.failed = int(told.group(1)), int(told.group(2))
    if ended.returncode and not result.failed:
        result.fail('schemathesis is not content: see above')
    return result


def crashes(environment, verb=None):
    """Kill operations, all of them or one; count points."""
    return _tried('crashes', 'points', environment, verb)


def faults(environment, verb=None):
    """Let the calls of operations fail, of all of them or one."""
    return _tried('faults', 'faults', environment, verb)


def _tried(suite, things, environment, verb):
    """Run a program that tries things out on operations; count them."""
    result = Result(suite)
    ended = run(['python', '-W', 'ignore', '-m', f'karbor_ng.tests.{suite}',
                 *([verb] if verb else [])],
                BUDGETS[suite] * PATIENCE, stdout=subprocess.PIPE,
                env=environment)
    print(ended.output, flush=True)
    told = re.search(rf'^(\d+) {things}, (\d+) violations$', ended.output,
                     re.M)
    if told is None:
        result.fail('it did not end: see above')
        return result
    result.remark = told.group()
    result.failed = int(told.group(2))
    result.passed = int(told.group(1)) - result.failed
    if ended.returncode and not result.failed:
        result.fail('it ended badly: see above')
    return result


def functional(environment, pattern=None):
    """Run the functional tests against the stack."""
    options = [] if pattern else ['--exclude-regex',
                                  f'{APPLICATIONS}|{CLIENTS}|{OUTAGES}']
    return _on_the_stack('functional', environment, pattern, *options)


def applications(environment, pattern=None):
    """Run the functional tests of whole applications."""
    return _on_the_stack('applications', environment,
                         pattern or APPLICATIONS)


def clients(environment, pattern=None):
    """Run the functional tests of Karbor's command lines."""
    with tempfile.TemporaryDirectory() as folder:
        said = pathlib.Path(folder) / 'said'
        result = _on_the_stack(
            'clients', environment | {'KARBOR_TEST_SAID': str(said)},
            pattern or CLIENTS)
        if result.good and not pattern:
            _check_said(said, environment, result)
    return result


def outages(environment, pattern=None):
    """Take away what karbor needs; nobody else can work meanwhile."""
    return stestr('outages', environment, pattern or OUTAGES,
                  '--concurrency', '1', folder='functional')


def _check_said(said, environment, result):
    """All that can be said to the programs must have been said."""
    ended = run(['python', '-W', 'ignore', '-m',
                 'karbor_ng.tests.functional.said', said], env=environment)
    if ended.returncode:
        result.fail('commands or options are left: see above')
    else:
        result.passed += 1


def _on_the_stack(suite, environment, pattern, *options):
    """Run tests while somebody looks what becomes of their secrets."""
    with tempfile.TemporaryDirectory() as folder:
        environment = environment | {'KARBOR_TEST_SECRETS': folder}
        with _witness(environment, folder):
            # They mostly wait, for clouds and for leases that run out;
            # those that stop services take turns.
            result = stestr(suite, environment, pattern, '--concurrency',
                            '6', *options, folder='functional')
        _check_secrets(folder, environment, result)
    return result


@contextlib.contextmanager
def _witness(environment, folder):
    """Let somebody see all that the product writes meanwhile."""
    with subprocess.Popen(
            ['python', '-W', 'ignore', '-m',
             'karbor_ng.tests.functional.witness', folder], cwd=CHECKOUT,
            env=environment, stdout=subprocess.PIPE, text=True,
            start_new_session=True) as process:
        RUNNING.add(process)
        process.stdout.readline()
        try:
            yield
        finally:
            process.terminate()
            with contextlib.suppress(subprocess.TimeoutExpired):
                process.wait(PATIENCE * 30)
            end(process)
            RUNNING.discard(process)


def _check_secrets(folder, environment, result):
    """None of the secrets of the tests may have come to light."""
    ended = run(['python', '-W', 'ignore', '-m',
                 'karbor_ng.tests.functional.secrecy', folder],
                env=environment, stdout=subprocess.PIPE)
    print(ended.output, flush=True)
    if ended.returncode:
        result.fail('secrets have come to light: see above')
    else:
        result.passed += 1
        result.remark = result.remark or ended.output.split(':')[0]


def stestr(suite, environment, pattern, *options, folder=None):
    """Run tests of one folder; count from what they reported."""
    runner = ['stestr', '--test-path',
              f'./karbor_ng/tests/{folder or suite}']
    before = runs()
    ended = run([*runner, 'run', *options, *([pattern] if pattern else [])],
                BUDGETS[suite] * PATIENCE, env=environment)
    result = Result(suite)
    if runs() != before:
        counts = counted(runner, environment)
        result = Result(suite, *(counts.get(word, 0) for word in (
            'Passed', 'Failed', 'Skipped')))
    if not result.passed + result.failed:
        result.fail('nothing ran')
    elif ended.returncode and not result.failed:
        result.fail(f'stestr ended with {ended.returncode}')
    return result


def runs():
    """Return how many runs stestr has kept: one that breaks adds none."""
    counter = CHECKOUT / '.stestr' / 'next-stream'
    return counter.read_text() if counter.exists() else ''


def counted(runner, environment):
    """Return how many tests of the last run ended how."""
    with subprocess.Popen([*runner, 'last', '--subunit'], cwd=CHECKOUT,
                          env=environment, stdout=subprocess.PIPE) as last:
        stats = run(['subunit-stats'], env=environment, stdin=last.stdout,
                    stdout=subprocess.PIPE)
    return {word: int(number) for word, number in re.findall(
        r'^(\w+) tests: +(\d+)$', stats.output, re.M)}


def stack(_environment, _pattern=None):
    """Bring the stack up: what the functional tests stand on."""
    result = Result('stack')
    if run([HERE / 'stack', 'up']).returncode:
        result.fail('tools/stack up failed: see above')
    else:
        result.passed = 1
    return result


def timed(suite, environment, pattern):
    """Run a suite, hold it to its budget, tell its result."""
    print(f'\n== {suite} ==', flush=True)
    is_cold = suite == 'stack' and not is_installed('cloud')
    begin = time.monotonic()
    try:
        result = globals()[suite](environment, pattern)
    except Hung as error:
        result = Result(suite)
        result.fail(str(error))
    result.seconds = time.monotonic() - begin
    if result.seconds > BUDGETS[suite]:
        late = f'took more than {minutes(BUDGETS[suite])}'
        if is_cold:
            result.remark = f'{late}, the installation included'
        else:
            result.fail(late)
    return result


def is_installed(name):
    return (venvs.folder(name) / venvs.MARKER).exists()


def minutes(seconds):
    return f'{int(seconds) // 60}:{int(seconds) % 60:02}'


def report(results):
    """Print the table and the last line; return the exit code."""
    print(f'\n{"suite":<13}{"passed":>8}{"failed":>8}{"skipped":>8}'
          f'{"time":>8}{"budget":>8}')
    for result in results:
        print(f'{result.suite:<13}{result.passed:>8}{result.failed:>8}'
              f'{result.skipped:>8}{minutes(result.seconds):>8}'
              f'{minutes(BUDGETS[result.suite]):>8}  {result.remark}')
    passed, failed, skipped = (
        sum(getattr(result, word) for result in results)
        for word in ('passed', 'failed', 'skipped'))
    print(f'\n{passed} passed, {failed} failed, {skipped} skipped')
    return 0 if all(result.good for result in results) else 1


def main(arguments):
    if arguments in (['-h'], ['--help']):
        print(__doc__)
        return 0
    wanted = arguments[:1] or [
        'style', 'unit', 'openapi', 'crashes', 'faults',
        *ON_THE_STACK]
    if len(arguments) > 2 or wanted[0] not in BUDGETS:
        sys.exit(__doc__)
    pattern = arguments[1] if len(arguments) > 1 else None
    machine.check_packages()
    environment = product()
    results = []
    for suite in wanted:
        if suite in ON_THE_STACK and not any(
                result.suite == 'stack' for result in results):
            results.append(timed('stack', environment, None))
            if not results[-1].good:
                break
        results.append(timed(suite, environment, pattern))
    return report(results)


if __name__ == '__main__':
    signal.signal(signal.SIGTERM, end_all)
    signal.signal(signal.SIGINT, end_all)
    sys.exit(main(sys.argv[1:]))

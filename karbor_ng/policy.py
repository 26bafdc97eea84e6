# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Asking whether a caller may do something.

The rules' defaults stand in ``karbor_ng.policies``, an operator's in the
files of ``[oslo_policy]``; this is the one place where both are asked.
"""

import argparse
import functools
from importlib import metadata
import logging
import re
import threading
import time

from oslo_config import cfg
from oslo_policy import policy

from karbor_ng import errors
from karbor_ng import policies

LOG = logging.getLogger(__name__)

#: oslo.policy looks at its files for each question. Once in so many seconds
#: is soon enough after an operator has changed one.
_LOOK_AGAIN_SECONDS = 5
#: Answers that are remembered until the next look.
_MOST_ANSWERS = 10000


class Enforcer:
    """Answers whether a caller may; may be asked from any thread."""

    def __init__(self, conf):
        self._enforcer = _load(conf)
        self._lock = threading.Lock()
        self._look_at = 0.0
        self._answers = {}
        self._can_remember = True
        self._look()

    def require(self, context, rule, project_id):
        """Return if the caller may do this with a thing of the project.

        :param context: a :class:`karbor_ng.context.RequestContext`
        :raises errors.Forbidden: the caller may not
        """
        if not self._allows(context, rule, project_id):
            LOG.info('Rule %s refuses user %s of project %s.', rule,
                     context.user_id, context.project_id)
            raise errors.Forbidden(
                f'Your roles do not allow this (rule {rule}).')

    def is_admin(self, context):
        """Return whether the caller may see all projects' things."""
        return self._allows(context, 'context_is_admin', context.project_id)

    def _allows(self, context, rule, project_id):
        """Ask oslo.policy, unless the same was asked since the last look.

        It looks at the signature of each part of a rule each time, which
        takes as long as a query of the database.
        """
        self._look()
        if not self._can_remember:
            return self._ask(context, rule, project_id)
        answers, key = self._answers, _key(context, rule, project_id)
        answer = answers.get(key)
        if answer is None:
            answer = self._ask(context, rule, project_id)
            if len(answers) < _MOST_ANSWERS:
                answers[key] = answer
        return answer

    def _ask(self, context, rule, project_id):
        return bool(self._enforcer.enforce(
            rule, {'project_id': project_id}, context))

    def _look(self):
        """Load the files again if they have changed, but not each time."""
        now = time.monotonic()
        if now < self._look_at:
            return
        with self._lock:
            self._look_at = now + _LOOK_AGAIN_SECONDS
            self._enforcer.use_conf = True
            self._enforcer.load_rules()
            self._enforcer.use_conf = False
            self._can_remember = not self._has_outside_checks()
            self._answers = {}

    def _has_outside_checks(self):
        """Return whether a rule asks others, who may change their minds."""
        return any(_outside_checks().search(str(check))
                   for check in self._enforcer.rules.values())


@functools.cache
def _outside_checks():
    kinds = metadata.entry_points(group='oslo.policy.rule_checks').names
    return re.compile(rf'\b({"|".join(map(re.escape, sorted(kinds)))}):')


def _key(context, rule, project_id):
    """Return all that an answer depends on."""
    return (rule, project_id, *[
        tuple(value) if isinstance(value, list) else value
        for value in context.to_policy_values().values()])


def get_enforcer():
    """Return oslo.policy's own enforcer, for its command line tools."""
    parser = argparse.ArgumentParser(add_help=False)
    for name in ('--config-file', '--config-dir'):
        parser.add_argument(name, action='append', default=[])
    given, _others = parser.parse_known_args()
    conf = cfg.ConfigOpts()
    conf([], project='karbor',
         default_config_files=given.config_file or None,
         default_config_dirs=given.config_dir or None)
    return _load(conf)


def _load(conf):
    enforcer = policy.Enforcer(conf)
    enforcer.register_defaults(policies.list_rules())
    return enforcer

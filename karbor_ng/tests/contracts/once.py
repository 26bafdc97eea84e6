# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The contract of ``once``: whatever dies, exactly one thing is made.

Mixed into test cases that have a plugin and what it works with; the same
promises are then kept in a registry on disk and in a real cloud.
"""

from karbor_ng.tests.contracts import work

#: What can happen to a creation, and whether the operation survives it.
FAULTS = (('lose_reply', True), ('kill_before', False),
          ('kill_after', False))


class OnceContract:
    """To be mixed into a test case, which has:

    :ivar frame: a :class:`work.Frame` with the plugin
    :ivar protect_labels: labels of all that protecting creates
    :ivar restore_labels: the same of restoring
    :ivar new_resource: returns a resource that nobody has protected yet
    """

    def test_each_restore_makes_new_things(self):
        resource = self.new_resource()
        protect = self.frame.protect(resource)
        first = self.frame.restore(protect, resource)
        second = self.frame.restore(protect, resource)
        self.assertNotEqual(first.restored[resource.id],
                            second.restored[resource.id])
        for operation, labels in ((protect, self.protect_labels),
                                  (first, self.restore_labels),
                                  (second, self.restore_labels)):
            self.assertEqual(sorted(labels), sorted(
                row.label for row in operation.journal))
            self._assert_one_each(operation, resource)

    def test_protecting_survives_faults(self):
        resource = self.new_resource()
        for fault, survives in FAULTS:
            protect = work.Operation('Protect', faults=dict.fromkeys(
                self.protect_labels, fault))
            self._run_to_the_end(protect, resource, survives)
            self._assert_one_each(protect, resource)

    def test_restoring_survives_faults(self):
        resource = self.new_resource()
        protect = self.frame.protect(resource)
        for fault, survives in FAULTS:
            restore = work.Operation(
                'Restore', saved=dict(protect.saved),
                faults=dict.fromkeys(self.restore_labels, fault))
            self._run_to_the_end(restore, resource, survives)
            self._assert_one_each(restore, resource)
            self.assertIn(resource.id, restore.restored)

    def test_deleting_leaves_nothing(self):
        resource = self.new_resource()
        protect = self.frame.protect(resource)
        self.frame.delete(protect, resource)
        self._assert_nothing(protect, resource)
        self.frame.delete(protect, resource)

    def test_deleting_finds_what_was_never_journalled(self):
        resource = self.new_resource()
        for label in self.protect_labels:
            with self.subTest(label=label):
                protect = work.Operation('Protect',
                                         faults={label: 'kill_after'})
                self.assertRaises(work.Killed, self.frame.run, protect,
                                  resource)
                self.assertIsNone(protect.row(label).external_id)
                self.frame.delete(protect, resource)
                self._assert_nothing(protect, resource)

    def _run_to_the_end(self, operation, resource, survives):
        """Run attempt after attempt, each up to the next fault."""
        for _ in operation.faults.copy():
            if not survives:
                self.assertRaises(work.Killed, self.frame.run, operation,
                                  resource)
        self.frame.run(operation, resource)
        self.assertEqual({}, operation.faults)

    def _assert_one_each(self, operation, resource):
        for row in operation.journal:
            kind = self.frame.plugin.kind(row.kind)
            expected = [] if kind.temporary else [row.external_id]
            self.assertEqual(expected, self._find(row, resource), row.label)

    def _assert_nothing(self, operation, resource):
        for row in operation.journal:
            self.assertEqual([], self._find(row, resource), row.label)

    def _find(self, row, resource):
        kind = self.frame.plugin.kind(row.kind)
        return kind.find(self.frame.session, row.tag, resource)

# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Dry runs, as answers have them: the same for protecting and restoring."""

from karbor_ng import graph


def view(found, provider_id, plan_id, checkpoint_id=None):
    """Return a :class:`karbor_ng.api.dry_runs.DryRun` as answers have it."""
    nodes = sorted(found.graph.nodes, key=lambda node: (node.type, node.id))
    return {
        'provider_id': provider_id,
        'plan_id': plan_id,
        'checkpoint_id': checkpoint_id,
        'possible': found.is_possible,
        'size': found.size,
        'resource_graph': graph.pack(found.graph),
        'resources': [
            _resource_view(node, node in found.planned, found.previews[node])
            for node in nodes],
    }


def _resource_view(node, in_plan, preview):
    return {
        'id': node.id,
        'type': node.type,
        'name': node.name,
        'in_plan': in_plan,
        'action': preview.action,
        'size': preview.size,
        'problems': list(preview.problems),
        'notes': list(preview.notes),
        'not_included': list(preview.not_included),
    }

# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Which path leads where in v1."""

import functools

from karbor_ng.api import openapi
from karbor_ng.api.v1 import checkpoints
from karbor_ng.api.v1 import copies
from karbor_ng.api.v1 import operation_logs
from karbor_ng.api.v1 import plans
from karbor_ng.api.v1 import protectables
from karbor_ng.api.v1 import providers
from karbor_ng.api.v1 import quotas
from karbor_ng.api.v1 import restores
from karbor_ng.api.v1 import scheduled_operations
from karbor_ng.api.v1 import services
from karbor_ng.api.v1 import triggers
from karbor_ng.api.v1 import verifications
from karbor_ng.api.v1 import versions

CONTROLLERS = {
    'versions': versions.Versions,
    'providers': providers.Providers,
    'protectables': protectables.Protectables,
    'plans': plans.Plans,
    'checkpoints': checkpoints.Checkpoints,
    'copies': copies.Copies,
    'restores': restores.Restores,
    'verifications': verifications.Verifications,
    'triggers': triggers.Triggers,
    'scheduled_operations': scheduled_operations.ScheduledOperations,
    'operation_logs': operation_logs.OperationLogs,
    'services': services.Services,
    'quotas': quotas.Quotas,
    'quota_classes': quotas.QuotaClasses,
}

ROUTES = {
    '': {'GET': 'versions.list'},
    'v1': {'GET': 'versions.list'},
    'healthcheck': {'GET': 'versions.health'},
    'v1/openapi.json': {'GET': 'versions.describe'},
    'v1/*/providers': {'GET': 'providers.list'},
    'v1/*/providers/*': {'GET': 'providers.show'},
    'v1/*/providers/*/checkpoints': {
        'GET': 'checkpoints.list', 'POST': 'checkpoints.create'},
    # Before the ids: this is none.
    'v1/*/providers/*/checkpoints/action': {'POST': 'copies.create'},
    'v1/*/providers/*/checkpoints/*': {
        'GET': 'checkpoints.show', 'PUT': 'checkpoints.reset',
        'DELETE': 'checkpoints.delete'},
    'v1/*/providers/*/checkpoints/*/action': {'POST': 'checkpoints.act'},
    'v1/*/protectables': {'GET': 'protectables.list'},
    'v1/*/protectables/*': {'GET': 'protectables.show'},
    'v1/*/protectables/*/instances': {'GET': 'protectables.list_instances'},
    'v1/*/protectables/*/instances/*': {'GET': 'protectables.show_instance'},
    'v1/*/plans': {'GET': 'plans.list', 'POST': 'plans.create'},
    'v1/*/plans/*': {
        'GET': 'plans.show', 'PUT': 'plans.update', 'DELETE': 'plans.delete'},
    'v1/*/restores': {'GET': 'restores.list', 'POST': 'restores.create'},
    'v1/*/restores/*': {'GET': 'restores.show'},
    'v1/*/restores/*/action': {'POST': 'restores.act'},
    'v1/*/triggers': {'GET': 'triggers.list', 'POST': 'triggers.create'},
    'v1/*/triggers/*': {
        'GET': 'triggers.show', 'PUT': 'triggers.update',
        'DELETE': 'triggers.delete'},
    'v1/*/verifications': {
        'GET': 'verifications.list', 'POST': 'verifications.create'},
    'v1/*/verifications/*': {'GET': 'verifications.show'},
    'v1/*/verifications/*/action': {'POST': 'verifications.act'},
    'v1/*/scheduled_operations': {
        'GET': 'scheduled_operations.list',
        'POST': 'scheduled_operations.create'},
    'v1/*/scheduled_operations/*': {
        'GET': 'scheduled_operations.show',
        'PUT': 'scheduled_operations.update',
        'DELETE': 'scheduled_operations.delete'},
    'v1/*/scheduled_operations/*/runs': {
        'GET': 'scheduled_operations.list_runs'},
    'v1/*/scheduled_operations/*/retention': {
        'GET': 'scheduled_operations.show_retention'},
    'v1/*/operation_logs': {'GET': 'operation_logs.list'},
    'v1/*/operation_logs/*': {'GET': 'operation_logs.show'},
    'v1/*/os-services': {'GET': 'services.list'},
    'v1/*/os-services/*': {'PUT': 'services.update'},
    'v1/*/quotas/*': {
        'GET': 'quotas.show', 'PUT': 'quotas.update',
        'DELETE': 'quotas.delete'},
    'v1/*/quotas/*/detail': {'GET': 'quotas.show_detail'},
    'v1/*/quotas/*/defaults': {'GET': 'quotas.show_defaults'},
    'v1/*/quota_classes/*': {
        'GET': 'quota_classes.show', 'PUT': 'quota_classes.update'},
}


@functools.cache
def document():
    """Return the description of all this, as OpenAPI has it."""
    return openapi.build(ROUTES, CONTROLLERS)

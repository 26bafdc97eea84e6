# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The providers of a soak, and where its files are.

Separate from the site, which needs the stack's own modules: what only names
a provider can be tried without a stack.
"""

from karbor_ng.tests.functional import base

HOME = base.STACK / 'soak'
SWIFT = '6f0a9c57-0f53-4d2b-9d3e-2f62b1a8d001'
FILES = '6f0a9c57-0f53-4d2b-9d3e-2f62b1a8d002'
NOOP = '6f0a9c57-0f53-4d2b-9d3e-2f62b1a8d003'
ALL = (SWIFT, FILES, NOOP)

_CLOUD_PLUGINS = '''
plugin = karbor-project-protection-plugin
plugin = karbor-server-protection-plugin
plugin = karbor-image-protection-plugin
plugin = karbor-volume-protection-plugin
enabled = true

[cinder_backup_protection_plugin]
poll_interval = 1

[image_backup_plugin]
poll_interval = 1

[nova_backup_protection_plugin]
poll_interval = 1
'''

#: Their files, with names of what differs between stacks and soaks.
FILES_OF = {
    'swift': f'''[provider]
name = Cloud and Swift
id = {SWIFT}
bank = karbor-swift-bank-plugin{_CLOUD_PLUGINS}
[swift_client]
swift_auth_url = {{auth_url}}
swift_user = karbor
swift_key = {{password}}
swift_tenant_name = service
swift_user_domain_name = Default
swift_project_domain_name = Default

[swift_bank_plugin]
bank_swift_object_container = {{container}}
''',
    'files': f'''[provider]
name = Cloud and files
id = {FILES}
bank = karbor-fs-bank-plugin{_CLOUD_PLUGINS}
[file_system_bank_plugin]
file_system_bank_path = {{home}}/bank
''',
    'noop': f'''[provider]
name = Nothing
id = {NOOP}
bank = karbor-fs-bank-plugin
plugin = karbor-noop-protection-plugin
enabled = true

[file_system_bank_plugin]
file_system_bank_path = {{home}}/bank-noop

[noop_protection_plugin]
registry_path = {{home}}/noop
''',
}

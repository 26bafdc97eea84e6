# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0

extensions = [
    'openstackdocstheme',
    'oslo_config.sphinxconfiggen',
    'oslo_config.sphinxext',
    'oslo_policy.sphinxext',
    'oslo_policy.sphinxpolicygen',
    'stevedore.sphinxext',
]

project = 'karbor_ng'
copyright = 'The karbor_ng authors'
root_doc = 'index'
nitpicky = False
suppress_warnings = ['config.cache']

openstackdocs_repo_name = 'karbor_ng'
openstackdocs_auto_name = False
openstackdocs_auto_version = False
openstackdocs_use_storyboard = False
version = release = ''
html_theme = 'openstackdocs'
html_theme_options = {'display_global_toc_section': True,
                      'show_other_versions': False}
html_copy_source = False

config_generator_config_file = [
    ('../../etc/karbor-config-generator.conf', '_static/karbor'),
    ('../../etc/karbor-providers-generator.conf', '_static/karbor-providers'),
]
sample_config_basename = '_static/karbor'
policy_generator_config_file = '../../etc/karbor-policy-generator.conf'
sample_policy_basename = '_static/karbor'
html_static_path = []

man_pages = [
    (f'cli/{name}', name, text, '', 1) for name, text in (
        ('karbor-all-in-one', 'protect what one user has in one cloud'),
        ('karbor-api', 'serve the REST API of karbor'),
        ('karbor-protection', 'protect, restore and delete'),
        ('karbor-operationengine', 'do what is scheduled'),
        ('karbor-manage', 'do what operators of karbor do by hand'),
        ('karbor-status', 'see what stands against an upgrade'),
    )]

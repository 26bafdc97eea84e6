# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0

extensions = [
    'openstackdocstheme',
    'reno.sphinxext',
]

project = 'karbor_ng'
copyright = 'The karbor_ng authors'
root_doc = 'index'
version = release = ''

openstackdocs_repo_name = 'karbor_ng'
openstackdocs_auto_name = False
openstackdocs_auto_version = False
openstackdocs_use_storyboard = False
html_theme = 'openstackdocs'
html_copy_source = False

# The page that the user documentation is the home of names others of its
# pages, which are not here.
suppress_warnings = ['ref.doc']

# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0

import json
import pathlib

from karbor_ng.api.v1 import routes

extensions = [
    'openstackdocstheme',
    'os_api_ref',
]

project = 'karbor_ng API reference'
copyright = 'The karbor_ng authors'
root_doc = 'index'
version = release = ''

openstackdocs_repo_name = 'karbor_ng'
openstackdocs_auto_name = False
openstackdocs_auto_version = False
openstackdocs_use_storyboard = False
html_theme = 'openstackdocs'
html_theme_options = {'sidebar_mode': 'toc'}
html_copy_source = False

# The description of the API, as the service answers it, beside the pages.
_beside = pathlib.Path(__file__).parents[1] / 'build' / 'beside'
_beside.mkdir(parents=True, exist_ok=True)
(_beside / 'openapi.json').write_text(
    json.dumps(routes.document(), indent=2) + '\n')
html_extra_path = [str(_beside)]

# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""JSON schemas of requests and answers, one module for each noun.

They are data: what validates requests is what is published, and tests hold
every answer against what is published about it.
"""

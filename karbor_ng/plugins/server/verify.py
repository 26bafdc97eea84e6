# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Verifying what was kept of a server: that it is enough to restore one.

Apart from restoring, which needs a cloud for it: here nobody is asked.
"""

from karbor_ng.plugins import api
from karbor_ng.plugins import image
from karbor_ng.plugins.server import protect


class Verify(api.Operation):
    """Looks for the root disk, and for the key of the user data.

    The data itself is read by the frame.
    """

    def on_main(self):
        if self.saved['server'].get('image_id') is not None:
            image.check_stored(self.saved, protect.ROOT_DISK,
                               self.saved.get('root_disk', {}).get(
                                   'data', {'size': None}))
        if 'user_data' in self.saved:
            protect.user_data(self, self.saved['user_data'])

# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""The bank: where checkpoints outlive the services that made them.

Apart from everything else because it is all that is needed to read a
checkpoint back: drivers below, one :class:`karbor_ng.bank.bank.Bank` above
them, and a format that is written down (contributor manual, "Bank format").
"""

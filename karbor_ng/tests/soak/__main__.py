# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Tenants work, everything dies at random, and nothing may be lost.

``tools/soak`` starts this. The order of events is here; what happens in
each is in the other modules.
"""

import concurrent.futures
import logging
import random
import sys
import time

from karbor_ng.tests.functional import base
from karbor_ng.tests.soak import api as apis
from karbor_ng.tests.soak import calm
from karbor_ng.tests.soak import chaos
from karbor_ng.tests.soak import goods
from karbor_ng.tests.soak import lanes
from karbor_ng.tests.soak import options as words
from karbor_ng.tests.soak import proof
from karbor_ng.tests.soak import providers
from karbor_ng.tests.soak import report
from karbor_ng.tests.soak import site as sites
from karbor_ng.tests.soak import tally as tallies
from karbor_ng.tests.soak import timetable
from karbor_ng.tests.soak import watch as watches
from karbor_ng.tests.soak import weather
import paths
import processes

#: The first has a server, the last has a volume and an image as well.
TENANTS = 3


class Soak:
    """One soak from the first file to the last line."""

    def __init__(self, options):
        self.options = options
        self.began = time.monotonic()
        self.site = sites.Site(f'soak-{options.seed}-{int(time.time())}')
        self.site.lay_out()
        logging.basicConfig(filename=sites.HOME / 'soak.log',
                            level=logging.ERROR)
        # It is us who kill the database.
        logging.getLogger('oslo_db').setLevel(logging.CRITICAL)
        self.tally = tallies.Tally(sites.HOME / 'events.log')
        self.books = apis.Books()
        self.watch = watches.Watch(self.site.db)
        #: [(Api, Goods)]
        self.tenants = []
        self.lanes = []
        self.checked = {}

    def run(self):
        """Return the number of violations."""
        self.tally.say(f'seed {self.options.seed}: making a karbor and '
                       f'{TENANTS} tenants')
        self.site.begin()
        try:
            self._make_tenants()
            self._make_lanes()
            self._storm()
            self._look()
        finally:
            text = report.text(self.options, self.site, self.watch,
                               self.tally, self.checked, self.began)
            (sites.HOME / 'report.txt').write_text(text)
            print(text, flush=True)
            self._clean()
        return len(self.tally.violations)

    def _make_tenants(self):
        with concurrent.futures.ThreadPoolExecutor(TENANTS) as pool:
            made = list(pool.map(goods.Goods, [True, False, False]))
        for own in made:
            api = apis.Api(own.tenant, self.site.url, self.tally, self.books)
            self.tenants.append((api, own))
        api = self.tenants[0][0]
        base.wait(lambda: len(api.pages('/providers', 'providers'))
                  == len(providers.ALL), 120, what='all providers')

    def _make_lanes(self):
        every = [api for api, _own in self.tenants]
        for number, (api, own) in enumerate(self.tenants):
            others = [other for other in every if other is not api]
            given = (self.options.seed, api, self.books, self.tally, others)
            slow = lanes.Slow(f'slow-{number}', *given, own=own)
            slow.prepare()
            quick = lanes.Quick(f'quick-{number}', *given)
            for _count in range(4):
                quick.add_plan()
            plans = self.books.of('plans', api, provider_id=providers.NOOP)[:2]
            for plan in plans:
                plan.facts['is_scheduled'] = True
            self.lanes += [slow, quick, timetable.Timetable(
                f'timetable-{number}', *given, plans=[*plans,
                                                      slow.plans[1]])]

    def _storm(self):
        options = self.options
        troubles = chaos.Chaos(self.site, self.watch, self.tally,
                               options.seed, options.pause)
        hanging = weather.Weather(options.seed)
        self.tally.say(f'{options.minutes:g} minutes of storm begin')
        for thread in (self.watch, *self.lanes, troubles, hanging):
            thread.start()
        time.sleep(60 * options.minutes)
        for lane in self.lanes:
            lane.stopping.set()
        troubles.stop()
        hanging.stop()
        self.tally.say('the storm is over')
        for lane in self.lanes:
            lane.join()

    def _look(self):
        """Wait until all has ended, then prove."""
        quiet = calm.Calm(self.site, self.tally, self.tenants)
        tables = [lane for lane in self.lanes
                  if isinstance(lane, timetable.Timetable)]
        for table in tables:
            table.rest()
        self._disable_unknown()
        quiet.wait()
        self.watch.stop()
        self.tally.say('all operations have ended')
        found = proof.Proof(
            self.site, self.tenants, self.books, tables, self.tally,
            random.Random(f'{self.options.seed} proof'))
        self.checked = found.checked
        found.run(self.options.restores)
        self.tally.say('all is proven')

    def _disable_unknown(self):
        """Disable schedules whose making was never acknowledged."""
        for api, _own in self.tenants:
            for item in api.pages('/scheduled_operations', 'operations'):
                if item['enabled']:
                    api.surely('PUT', f'/scheduled_operations/{item["id"]}',
                               {'scheduled_operation': {'enabled': 0}})

    def _clean(self):
        """Stop karbor; of a good run nothing stays in the cloud."""
        self.site.end()
        if not self.tally.violations and self.checked:
            for _api, own in self.tenants:
                own.tenant.remove()
            self.site.remove_container()
        self.tally.close()


def main(arguments):
    options = words.parse(arguments)
    with processes.alone(paths.HERE):
        violations = Soak(options).run()
    print('FAIL' if violations else 'PASS')
    return int(bool(violations))


if __name__ == '__main__':
    sys.exit(main(sys.argv[1:]))

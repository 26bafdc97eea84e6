# Licensed under the Apache License, Version 2.0 (the "License"); see LICENSE.
# SPDX-License-Identifier: Apache-2.0
"""Properties of triggers as users could write them, and when they are due.

The due times are worked out here a second time, the plain way: all of them
from the first on, by the libraries alone. Nothing of the product is asked.
"""

import datetime
import zoneinfo

import cronsim
from dateutil import rrule

DAY = datetime.timedelta(days=1)
ZONES = ('UTC', 'Europe/Berlin', 'America/New_York', 'Australia/Lord_Howe',
         'America/St_Johns', 'Asia/Kolkata', 'Pacific/Auckland')
WEEKDAYS = ('MO', 'TU', 'WE', 'TH', 'FR', 'SA', 'SU')


# What users write

def properties(dice, now):
    """Return properties of a trigger.

    :param dice: a ``random.Random``
    :param now: when they are written
    """
    zone = dice.choice(ZONES)
    make, form = dice.choice(((_crontab, 'crontab'), (_calendar, 'calendar')))
    found = {'format': form, 'timezone': zone,
             'pattern': make(dice, now.astimezone(zoneinfo.ZoneInfo(zone))),
             'window': dice.choice((300, '900', 1800, '3600'))}
    if dice.random() < 0.4:
        found['start_time'] = _written(
            dice, zone, now + dice.uniform(-3, 2) * DAY)
    if dice.random() < 0.2:
        found['end_time'] = _written(
            dice, zone, now + dice.uniform(3, 15) * DAY)
    return found


def _written(dice, zone, moment):
    moment = moment.replace(microsecond=0)
    if dice.random() < 0.5:
        return moment.isoformat()
    return moment.astimezone(zoneinfo.ZoneInfo(zone)).strftime(
        '%Y-%m-%d %H:%M:%S')


def _crontab(dice, _local):
    minute, hour = dice.randrange(60), dice.randrange(24)
    return dice.choice((
        f'{minute} * * * *', f'{minute} * * * *', f'{minute} */2 * * *',
        f'*/{dice.choice((10, 15, 20, 30))} * * * *',
        f'{minute} {dice.randrange(4)}-{dice.randrange(4, 24)} * * *',
        f'*/20 {hour} * * *', f'{minute} {hour} * * *',
        f'{minute} 1,2,3 * * *', '@hourly', '0 0,12 * * MON-FRI',
        f'{minute} 2 * * {dice.randrange(7)}'))


def _calendar(dice, local):
    lines = []
    start = (local + dice.uniform(-5, 3) * DAY).replace(
        microsecond=0, tzinfo=None)
    if dice.random() < 0.6:
        lines.append(f'DTSTART:{_stamp(start)}')
    lines += [f'RRULE:{_rule(dice, local)}'
              for _ in range(dice.choice((1, 1, 2)))]
    if dice.random() < 0.3:
        lines.append('RDATE:' + ','.join(sorted(
            _stamp(local + dice.uniform(0, 12) * DAY) for _ in range(4))))
    if dice.random() < 0.3:
        lines.append('EXDATE:' + ','.join(_stamp((
            start + dice.randrange(15) * DAY).replace(
                hour=dice.randrange(24))) for _ in range(4)))
    return '\n'.join(('BEGIN:VEVENT', *lines, 'END:VEVENT'))


def _rule(dice, local):
    rule = dice.choice((
        'FREQ=HOURLY', 'FREQ=HOURLY;INTERVAL=2;BYMINUTE=7,37',
        'FREQ=MINUTELY;INTERVAL=30', 'FREQ=MINUTELY;INTERVAL=45',
        'FREQ=DAILY;BYHOUR=1,2,3;BYMINUTE=0,30',
        f'FREQ=DAILY;INTERVAL=2;BYHOUR={dice.randrange(24)}',
        f'FREQ=WEEKLY;BYDAY={",".join(dice.sample(WEEKDAYS, 4))};'
        f'BYHOUR=0,2,{dice.randrange(4, 24)}',
        'FREQ=MONTHLY;BYDAY=-1SU,1MO;BYHOUR=2,3'))
    if dice.random() < 0.15:
        rule += f';COUNT={dice.randrange(1, 200)}'
    elif dice.random() < 0.15:
        rule += f';UNTIL={_stamp(local + dice.uniform(1, 12) * DAY)}'
    return rule


def _stamp(moment):
    return moment.strftime('%Y%m%dT%H%M%S')


# When that is due

def due_times(properties, begin, end):
    """Return the due times later than begin, up to the end, ascending.

    :param properties: with a start_time
    """
    zone = zoneinfo.ZoneInfo(properties['timezone'])
    first = _parsed(properties['start_time'], zone)
    last = end
    if 'end_time' in properties:
        last = min(end, _parsed(properties['end_time'], zone))
    find = {'crontab': _of_crontab, 'calendar': _of_calendar}
    found = find[properties['format']](properties['pattern'], zone, first,
                                       last)
    return sorted({moment for moment in found
                   if first <= moment <= last and moment > begin})


def _parsed(text, zone):
    moment = datetime.datetime.fromisoformat(text)
    if moment.tzinfo is None:
        moment = moment.replace(tzinfo=zone)
    return moment.astimezone(datetime.timezone.utc)


def _of_crontab(pattern, zone, first, last):
    pattern = pattern.replace('@hourly', '0 * * * *')
    for moment in cronsim.CronSim(pattern, (first - 2 * DAY).astimezone(zone)):
        moment = moment.astimezone(datetime.timezone.utc)
        if moment > last:
            return
        yield moment


def _of_calendar(pattern, zone, first, last):
    start = first.astimezone(zone).replace(tzinfo=None)
    rules = rrule.rruleset()
    lines = [line.split(':', 1) for line in pattern.splitlines()[1:-1]]
    for name, value in lines:
        if name == 'DTSTART':
            start = _read(value)
    for name, value in lines:
        if name == 'RRULE':
            rules.rrule(rrule.rrulestr(value, dtstart=start))
        elif name in ('RDATE', 'EXDATE'):
            for one in value.split(','):
                getattr(rules, name.lower())(_read(one))
    for local in rules:
        moment = _earliest(local, zone)
        if moment > last:
            return
        yield moment


def _read(stamp):
    return datetime.datetime.strptime(stamp, '%Y%m%dT%H%M%S')


def _earliest(local, zone):
    """Return when a clock first shows a local time, or a later one."""
    before, after = sorted(
        local.replace(tzinfo=zone, fold=fold).astimezone(
            datetime.timezone.utc) for fold in (0, 1))
    if before.astimezone(zone).replace(tzinfo=None) == local:
        return before
    while after - before > datetime.timedelta(seconds=1):
        middle = before + (after - before) // 2
        if middle.astimezone(zone).replace(tzinfo=None) >= local:
            after = middle
        else:
            before = middle
    return after.replace(microsecond=0)

"""From samples to figures: medians, spreads, ratios, and the thresholds they are held to."""
import json
import math
import os
import statistics

with open(f'{os.path.dirname(os.path.abspath(__file__))}/thresholds.json') as file:
    THRESHOLDS = json.load(file)


class Series:
    """Samples of one number, by repetition; nan where a repetition failed."""

    def __init__(self, values):
        self.values = list(values)
        self.good = [value for value in self.values if not math.isnan(value)]

    @property
    def median(self):
        return statistics.median(self.good) if self.good else math.nan

    def __str__(self):
        if not self.good:
            return '-'
        if len(self.good) == 1:
            return short(self.median)
        return f'{short(self.median)} [{short(min(self.good))}..{short(max(self.good))}]'

    def minus(self, other):
        return Series(a - b for a, b in zip(self.values, other.values))


def short(value):
    return f'{value:.0f}' if abs(value) >= 100 else f'{value:.1f}' if abs(value) >= 10 else f'{value:.2f}'


class Figure:
    """One line of the table: ours, beside a peer where it is a ratio."""

    def __init__(self, name, title, unit, ours, peer_name=None, peer=None):
        self.name, self.title, self.unit, self.peer_name = name, title, unit, peer_name
        self.ours, self.peer = ours, peer
        # The ratio is that of the medians; its spread is that of the repetitions, each of which is a ratio too.
        if peer_name is None:
            self.value, self.spread = ours.median, ours
        else:
            self.value = ours.median / peer.median if peer.good and peer.median > 0 else math.nan
            self.spread = Series(a / b if b > 0 else math.nan for a, b in zip(ours.values, peer.values))
        limits = THRESHOLDS[name]
        self.at_least, self.at_most, self.aim = limits.get('at_least'), limits.get('at_most'), limits['aim']

    def meets(self, limit):
        if math.isnan(self.value):
            return False
        return self.value >= limit if self.at_least is not None else self.value <= limit

    @property
    def passed(self):
        return self.meets(self.at_least if self.at_least is not None else self.at_most)

    @property
    def verdict(self):
        return 'FAIL' if not self.passed else 'ok, aim met' if self.meets(self.aim) else 'ok'

    def cells(self):
        sign, bar = ('>=', self.at_least) if self.at_least is not None else ('<=', self.at_most)
        times = 'x' if self.peer_name else ''
        ratio = f'{short(self.value)}{times}' if not math.isnan(self.value) else 'not measured'
        if self.peer_name and len(self.spread.good) > 1:
            ratio += f' [{short(min(self.spread.good))}..{short(max(self.spread.good))}]'
        return [
            self.title, f'{self.ours} {self.unit}', f'{self.peer_name} {self.peer}' if self.peer_name else '-',
            ratio if self.peer_name else f'{short(self.value)}', f'{sign} {bar:g}{times}', f'{self.aim:g}{times}',
            self.verdict]

    def record(self):
        def plain(series):
            return [None if math.isnan(value) else value for value in series.values]
        return {
            'name': self.name, 'title': self.title, 'unit': self.unit, 'ours': plain(self.ours),
            'peer': self.peer_name, 'theirs': plain(self.peer) if self.peer else None,
            'value': None if math.isnan(self.value) else self.value, 'at_least': self.at_least,
            'at_most': self.at_most, 'aim': self.aim, 'passed': self.passed}


def table(rows):
    """Rows of cells as Markdown that is aligned for reading as it is; the first row is the header."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ['| ' + ' | '.join(cell.ljust(width) for cell, width in zip(row, widths)) + ' |' for row in rows]
    return '\n'.join([lines[0], '|' + '|'.join('-' * (width + 2) for width in widths) + '|', *lines[1:]])

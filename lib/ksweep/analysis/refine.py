"""The axes of a sweep -> axes around its best region, each with the reason for what became of it.

The region is the best setting and those tied with it; where no noise is known (one seed), the best fifth of the settings; with
several objectives, the front.

  list of numbers     the best value and, on either side, halfway to its neighbour; spaced in the logarithm: half and twice the
                      best, or halfway to the neighbour where that is nearer; at an end of the axis as far beyond it, within the
                      limits of Kconfig; where other values of the region lie on a side, the farthest of them and halfway to it
  list of words,      those of the region
  pairs
  distribution        of the same kind, from the least to the greatest value of the region and the best fifth, and a tenth of the
                      old width more on either side; beyond an old end only where the best lies within a tenth of it
  not in the region   left out: a symbol whose `depends on` holds nowhere there
"""

import math
import statistics
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from decimal import ROUND_CEILING, ROUND_FLOOR, Context, Decimal
from fractions import Fraction
from itertools import pairwise

from ksweep.analysis.formats import mean_and_spread, one_line, plural
from ksweep.analysis.pareto import chosen_of_front
from ksweep.analysis.ranking import Group, Ranking, Verdict
from ksweep.kconfig.limits import Limits
from ksweep.space.axes import Axis, Row
from ksweep.space.values import Sampled, decimal_text, parse_decimal, value_text

_TOP = Fraction(1, 5)  # of the settings: the region where no noise is known, and what distributions are narrowed to
_MARGIN = Decimal("0.1")  # of the old width
_DIGITS = 3  # of a number halfway in the logarithm, and of the ends of a distribution
_LOG_STEP = 2  # to either side of the best, where neighbours in the logarithm lie far apart
_LOG_RATIO = 3  # two values so far apart are taken as spaced in the logarithm


@dataclass(frozen=True, kw_only=True)
class RefinedAxis:
    """What becomes of one axis. `rows` or `sampled`: as in Axis; neither: it is left out. `reasons`: a line each."""

    symbols: tuple[str, ...]
    rows: tuple[Row, ...] = ()
    sampled: Sampled | None = None
    reasons: tuple[str, ...] = ()

    @property
    def is_axis(self) -> bool:
        """True when points differ in it."""
        return len(self.rows) > 1 or self.sampled is not None

    @property
    def text(self) -> str:
        """Its line of a range file; empty when it is left out."""
        if not self.rows and self.sampled is None:
            return ""
        names = ",".join(f"CONFIG_{name}" for name in self.symbols)
        return f"{names}={axis_text(self.rows, self.sampled)}"


def axis_text(rows: Sequence[Row], sampled: Sampled | None) -> str:
    """The values of an axis as a range file writes them."""
    if sampled is not None:
        return str(sampled)
    texts = [[value_text(value) for value in row] for row in rows]
    return "|".join(row[0] if len(row) == 1 else f"({', '.join(row)})" for row in texts)


def best_region(ranking: Ranking) -> list[Group]:
    """The settings around which to look further, best first; empty when none is ranked."""
    if ranking.has_fronts and ranking.front:
        best = chosen_of_front(ranking)
        return [best, *(group for group in ranking.front if group is not best)]
    if any(group.verdict in (Verdict.TIED, Verdict.BEHIND) for group in ranking.ranked):
        return [group for group in ranking.ranked if group.verdict in (Verdict.BEST, Verdict.TIED)]
    return _best_fifth(ranking)


def region_text(ranking: Ranking) -> str:
    """In words, what `best_region` is in this sweep."""
    num, total = len(best_region(ranking)), plural(len(ranking.ranked), "setting")
    if ranking.has_fronts:
        return f"the front: {num} of {total}"
    if any(group.verdict in (Verdict.TIED, Verdict.BEHIND) for group in ranking.ranked):
        return f"the best and those tied with it: {num} of {total}"
    return f"the best fifth: {num} of {total} ({_why_no_noise(ranking)}: nothing is known of the noise)"


def _why_no_noise(ranking: Ranking) -> str:
    """Why no setting can be told from another by its seeds."""
    if max((len(group.counted) for group in ranking.ranked), default=0) < 2:
        return "one seed"
    return "one setting" if len(ranking.ranked) == 1 else "no difference has a spread"


def score_text(group: Group) -> str:
    """`val_acc 98.70% ± 0.43% over 3 seeds`."""
    pairs = zip(group.goals, group.scores, strict=True)
    scores = ", ".join(f"{one_line(goal.text)} {mean_and_spread(goal.text, score)}" for goal, score in pairs)
    return f"{scores} over {plural(len(group.counted), 'seed')}" if len(group.counted) > 1 else scores


def refine_axes(axes: Sequence[Axis], ranking: Ranking, limits: Mapping[str, Limits | None]) -> list[RefinedAxis]:
    """One for each axis, in their order. `limits`: of the symbols that hold numbers."""
    region = best_region(ranking)
    top = region + [group for group in _best_fifth(ranking) if group not in region]
    return [_refined(axis, ranking, region, top, limits) for axis in axes]


def _best_fifth(ranking: Ranking) -> list[Group]:
    return ranking.ranked[: math.ceil(len(ranking.ranked) * _TOP)]


def _refined(
    axis: Axis, ranking: Ranking, region: Sequence[Group], top: Sequence[Group], limits: Mapping[str, Limits | None]
) -> RefinedAxis:
    there = [row for group in region if (row := axis.row_in(group.values)) is not None]
    if not there:
        return RefinedAxis(symbols=axis.symbols, reasons=("no setting of the best region has it",))
    limit = limits.get(axis.symbols[0])
    if axis.sampled is not None:
        wide = [Decimal(row[0]) for group in top if (row := axis.row_in(group.values)) is not None]
        narrowed, reasons = _narrowed(axis.sampled, Decimal(there[0][0]), wide, limit or Limits())
        if isinstance(narrowed, Sampled):
            return RefinedAxis(symbols=axis.symbols, sampled=narrowed, reasons=tuple(reasons))
        return RefinedAxis(symbols=axis.symbols, rows=((decimal_text(narrowed),),), reasons=tuple(reasons))
    numbers = [parse_decimal(row[0]) for row in axis.values]
    if len(axis.symbols) == 1 and limit is not None and None not in numbers:
        around = Around([number for number in numbers if number is not None], [Decimal(row[0]) for row in there], limit)
        return RefinedAxis(symbols=axis.symbols, rows=tuple((text,) for text in around.texts), reasons=tuple(around.reasons))
    rows = tuple(row for row in axis.values if row in there)
    return RefinedAxis(symbols=axis.symbols, rows=rows, reasons=tuple(_why_dropped(axis, rows, ranking)))


def measured_only(axis: Axis, ranking: Ranking, why: str) -> RefinedAxis:
    """The values of an axis that the region has, and no others."""
    there = [row for group in best_region(ranking) if (row := axis.row_in(group.values)) is not None]
    if axis.sampled is not None:
        rows = tuple(dict.fromkeys(there))
    else:
        rows = tuple(row for row in axis.values if row in there)
    return RefinedAxis(symbols=axis.symbols, rows=rows, reasons=(f"the values of the best region as they are: {why}",))


def without(refined: RefinedAxis, reasons: Mapping[Row, str]) -> RefinedAxis:
    """The same without the rows that Kconfig does not allow, each with its reason."""
    rows = tuple(row for row in refined.rows if row not in reasons)
    said = (f"{', '.join(row)} left out: {reason}" for row, reason in reasons.items())
    return replace(refined, rows=rows, reasons=(*refined.reasons, *said))


# -- words and pairs -----------------------------------------------------------------------------------------------


def _why_dropped(axis: Axis, kept: Sequence[Row], ranking: Ranking) -> Iterable[str]:
    for row in axis.values:
        if row not in kept:
            yield f"{', '.join(row)} dropped: {_best_with(axis, row, ranking)}"


def _best_with(axis: Axis, row: Row, ranking: Ranking) -> str:
    for group in ranking.ranked:
        if axis.row_in(group.values) == row:
            place = f"its best setting ranks {group.rank} of {len(ranking.ranked)}"
            return f"{place}, {group.objective} {mean_and_spread(group.objective, group.score)}" + (
                f", {group.verdict}" if group.verdict is Verdict.BEHIND else ""
            )
    if any(axis.row_in(group.values) == row for group in ranking.infeasible):
        return "no setting with it keeps to the constraints"
    return "no setting with it has a run that counts"


# -- lists of numbers ----------------------------------------------------------------------------------------------


class Around:
    """The numbers to try around the best one. `region`: those of the best region, the best one first."""

    def __init__(self, old: Iterable[Decimal], region: Sequence[Decimal], limits: Limits) -> None:
        self._old, self._best, self._limits = sorted(set(old)), region[0], limits
        self._is_log = is_log_spaced(self._old)
        self._grain = _grain(self._old) if limits.is_whole else 0
        self.reasons = [f"best {decimal_text(self._best)}{', spaced in the logarithm' if self._is_log else ''}"]
        below = self._side([number for number in reversed(self._old) if number < self._best], region, -1)
        above = self._side([number for number in self._old if number > self._best], region, 1)
        self.numbers = sorted({*below, self._best, *above})

    @property
    def texts(self) -> list[str]:
        """The numbers, least first."""
        return [_text(number) for number in self.numbers]

    def _side(self, others: Sequence[Decimal], region: Sequence[Decimal], sign: int) -> list[Decimal]:
        """The new numbers on one side of the best; `others` are the old ones there, the nearest first."""
        where = "below" if sign < 0 else "above"
        if not others:
            return self._beyond(sign, where) if len(self._old) > 1 else []
        tied = [number for number in others if number in region]
        far = tied[-1] if tied else others[0]
        middle = self._halfway(self._best, far)
        if middle is None:
            self.reasons.append(f"{where}: nothing lies between {_text(self._best)} and {_text(far)}")
        elif not tied and (step := self._log_step(sign)) is not None and abs(step - self._best) < abs(middle - self._best):
            self.reasons.append(
                f"{where}: {_text(step)}, {'half' if sign < 0 else 'twice'} the best; the neighbour is {_text(far)}"
            )
            return [step]
        else:
            self.reasons.append(
                f"{where}: {_text(middle)}, halfway to {_text(far)}" + (", which is in the region" if tied else "")
            )
        return [number for number in (middle, far if tied else None) if number is not None]

    def _beyond(self, sign: int, where: str) -> list[Decimal]:
        """Past the end of the old values, as far as the new number on the other side; within the limits of Kconfig."""
        limit = self._limits.low if sign < 0 else self._limits.high
        new = self._mirrored(sign)
        end = f"the best is the {'least' if sign < 0 else 'greatest'} of the old values"
        if self._limits.allow(new):
            self.reasons.append(f"{where}: {_text(new)}, beyond the old values: {end}")
            return [new]
        assert limit is not None
        if (limit - self._best) * sign <= 0:
            self.reasons.append(f"{where}: nothing, Kconfig ends at {_text(limit)}")
            return []
        if self._limits.allow(limit):
            self.reasons.append(f"{where}: {_text(limit)}, the limit of Kconfig: {end}")
            return [limit]
        middle = self._halfway(self._best, limit)
        if middle is None:
            self.reasons.append(f"{where}: nothing lies between {_text(self._best)} and the limit of Kconfig, {_text(limit)}")
            return []
        self.reasons.append(f"{where}: {_text(middle)}, halfway to the limit of Kconfig, {_text(limit)}: {end}")
        return [middle]

    def _mirrored(self, sign: int) -> Decimal:
        other = self._old[1] if sign < 0 else self._old[-2]
        if self._is_log and other > 0 and self._best > 0:
            factor = (self._best / other).sqrt()
            exact = self._best * min(max(factor, 1 / Decimal(_LOG_STEP)), Decimal(_LOG_STEP))
        else:
            exact = self._best + (self._best - other) / 2
        if exact <= 0 < self._old[0]:
            exact = self._best / 2  # the old values were all above 0
        new = self._rounded(exact)
        grain = Decimal(self._grain)
        return new if (new - self._best) * sign > 0 else self._best + sign * grain

    def _log_step(self, sign: int) -> Decimal | None:
        """Half or twice the best; None where the values are not spaced in the logarithm."""
        if not self._is_log or self._best <= 0:
            return None
        step = self._rounded(self._best * _LOG_STEP if sign > 0 else self._best / _LOG_STEP)
        return step if step not in (0, self._best) else None

    def _halfway(self, one: Decimal, other: Decimal, *, is_log: bool | None = None) -> Decimal | None:
        """A number strictly between, with few digits; None where there is none."""
        use_log = (self._is_log if is_log is None else is_log) and one > 0 and other > 0
        exact = (one * other).sqrt() if use_log else (one + other) / 2
        grains = [grain for grain in (self._grain, 1) if grain] if self._limits.is_whole else [0]
        for grain in grains:
            for digits in (_DIGITS, 6):
                rounded = self._rounded(exact, grain, digits if use_log else 28)
                if min(one, other) < rounded < max(one, other):
                    return rounded
        return None

    def _rounded(self, number: Decimal, grain: int | None = None, digits: int | None = None) -> Decimal:
        grain = self._grain if grain is None else grain
        if self._limits.is_whole:
            return round(number / max(grain, 1)) * Decimal(max(grain, 1))
        return Context(prec=digits or (_DIGITS if self._is_log else 28)).plus(number)


def is_log_spaced(numbers: Sequence[Decimal]) -> bool:
    """Whether numbers, in order, are more evenly spaced in the logarithm than as they stand; a 0 before them does not count."""
    positive = [number for number in numbers if number > 0]
    if len(positive) < len(numbers) - 1 or numbers[0] < 0 or len(positive) < 2:
        return False
    if len(positive) == 2:
        return positive[1] / positive[0] >= _LOG_RATIO
    steps = [float(b - a) for a, b in pairwise(positive)]
    ratios = [float((b / a).ln()) for a, b in pairwise(positive)]
    return _unevenness(ratios) < _unevenness(steps) - 1e-9


def _unevenness(steps: Sequence[float]) -> float:
    return statistics.pstdev(steps) / statistics.fmean(steps)


def _grain(numbers: Sequence[Decimal]) -> int:
    """Half of the greatest number that divides all: batch sizes 16, 32, 64 go on in steps of 8. At least 1."""
    return max(math.gcd(*(int(number) for number in numbers)) // 2, 1)


def _text(number: Decimal) -> str:
    return decimal_text(number.normalize()) if number else "0"


# -- distributions -------------------------------------------------------------------------------------------------


def _narrowed(old: Sampled, best: Decimal, top: Sequence[Decimal], limits: Limits) -> tuple[Sampled | Decimal, list[str]]:
    """The distribution over the top values and some room; one number where nothing else is left."""
    to, back = (_ln, _exp) if old.is_log else (_same, _same)
    low, high = to(old.low), to(old.high)
    margin = (high - low) * _MARGIN
    reasons = [f"best {_text(best)}; the best {plural(len(top), 'setting')} from {_text(min(top))} to {_text(max(top))}"]
    new_low, new_high = to(min(top)) - margin, to(max(top)) + margin
    ends = []
    for new, end, old_end, limit, rounding in (
        (new_low, low, old.low, limits.low, ROUND_FLOOR),
        (new_high, high, old.high, limits.high, ROUND_CEILING),
    ):
        is_beyond = new < end if rounding == ROUND_FLOOR else new > end
        is_best_at_it = abs(to(best) - end) <= margin
        number = old_end if is_beyond and not is_best_at_it else _end(old, back(new), rounding)
        if not limits.allow(number) or (old.is_log and number <= 0):
            is_usable = limit is not None and limits.allow(limit) and not (old.is_log and limit <= 0)
            number = limit if is_usable and limit is not None and not old.is_whole else old_end
        if is_beyond and number != old_end:
            reasons.append(f"to {_text(number)}, beyond the old end {_text(old_end)}: the best lies within a tenth of it")
        ends.append(number)
    if ends[0] >= ends[1]:
        return best, [*reasons, "one value is left"]
    return Sampled(form=old.form, low=ends[0], high=ends[1], step=old.step), reasons


def _end(old: Sampled, number: Decimal, rounding: str) -> Decimal:
    """An end with few digits, rounded outwards; on the steps of the old distribution."""
    if old.is_whole:
        step = old.step or Decimal(1)
        return old.low + ((number - old.low) / step).to_integral_value(rounding) * step
    return Context(prec=_DIGITS, rounding=rounding).plus(number).normalize()


def _ln(number: Decimal) -> Decimal:
    return number.ln()


def _exp(number: Decimal) -> Decimal:
    return number.exp()


def _same(number: Decimal) -> Decimal:
    return number

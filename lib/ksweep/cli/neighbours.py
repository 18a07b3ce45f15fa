"""A setting of a sweep beside those that differ from it in one axis only."""

from ksweep.analysis.formats import mean_and_spread, number, one_line
from ksweep.analysis.load import SEED, SweepState
from ksweep.analysis.ranking import Group, paired_difference, rank
from ksweep.contract.sweepfile import PointRecord


def better_neighbour(state: SweepState, point: PointRecord) -> str:
    """One line on the best of the settings that differ from a point's in one axis and rank higher; empty when there is none, or
    the point is not ranked."""
    ranking = rank(state)
    mine = next((group for group in ranking.ranked if any(run.point.id == point.id for run in group.runs)), None)
    if mine is None or mine.rank is None or ranking.has_fronts:
        return ""
    if mine.rank == 1:
        return "No setting of its sweep ranks higher."
    axes = [[name for name in axis["symbols"] if name != SEED] for axis in state.record.axes]
    for group in ranking.ranked:
        changed = [axis for axis in axes if any(mine.values.get(name) != group.values.get(name) for name in axis)]
        if len(changed) == 1 and group.rank is not None and group.rank < mine.rank:
            return _told(mine, group, changed[0])
    return f"Rank {mine.rank} of its sweep; no setting that differs in one axis ranks higher."


def _told(mine: Group, better: Group, axis: list[str]) -> str:
    change = ", ".join(f"{name} {mine.values.get(name, '-')} -> {better.values.get(name, '-')}" for name in axis)
    scores = [mean_and_spread(group.objective, group.score) for group in (better, mine)]
    difference = paired_difference(better, mine)
    if difference.mean is None or difference.half_width is None:
        sure = "one seed: may be chance" if better.score.n == 1 else "how sure is not known"
    elif abs(difference.mean) > difference.half_width:
        sure = f"difference {number(mine.objective, difference.mean)}, beyond noise"
    else:
        sure = f"difference {number(mine.objective, difference.mean)}, within noise"
    return one_line(
        f"Better by one axis: {better.counted[0].config}, {change}: {mine.objective} {scores[0]} against {scores[1]}, "
        f"rank {better.rank} against {mine.rank} ({sure})."
    )

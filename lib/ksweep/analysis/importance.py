"""Which axes matter: the share of the goal's variance that each explains by itself (functional analysis of variance).

Of a complete grid it is computed exactly, from the means of its values. Otherwise a forest of regression trees stands for the
goal, and its parts are computed exactly: Hutter, Hoos, Leyton-Brown 2014, An efficient approach for assessing hyperparameter
importance. It is the estimate of Optuna's FanovaImportanceEvaluator, which the tests hold it to, computed from sums over the
leaves instead of a walk for each value: 1,000 settings took that one a minute.
"""

from collections.abc import Sequence
from math import prod
from typing import TYPE_CHECKING, Any

from ksweep.analysis.axes import SweptAxis
from ksweep.analysis.effects import Importance, Setting

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Array = NDArray[np.float64]

_LEAST = 4  # settings
_TREES, _DEPTH = 64, 64  # as Optuna's evaluator has them
_LARGEST_TREE = 2000  # settings that one tree is made from: growing time
_SAME = 1e-12  # relative: a goal that varies less is constant
_EXACT = "exact functional ANOVA of the complete grid (Hoeffding 1948; Hutter, Hoos, Leyton-Brown 2014)"
_FOREST = f"fANOVA over {_TREES} regression trees (Hutter, Hoos, Leyton-Brown 2014)"


def find_importance(axes: Sequence[SweptAxis], settings: Sequence[Setting]) -> Importance | None:
    """None with fewer than 4 settings, or a goal that is the same for all. An axis that too few settings have has no share.

    The same settings give the same shares: the forest's draws are seeded.
    """
    goals = _scaled(settings)
    if goals is None:
        return None
    common = [axis for axis in axes if all(axis.name in setting.values for setting in settings)]
    if len(common) == len(axes) and _is_grid(axes, settings):
        shares = {axis.name: _exact_share(axis, settings, goals) for axis in axes}
        return Importance(method=_EXACT, shares=_largest_first(shares), num_settings=len(settings))
    shares, fit = _forest_shares(common, settings, goals) if common else ({}, None)
    partial: dict[str, int] = {}
    for names in _patterns(axes, settings):
        having = [setting for setting in settings if names[0] in setting.values]
        goals = _scaled(having)
        if goals is not None:
            present = [axis for axis in axes if all(axis.name in setting.values for setting in having)]
            found, _ = _forest_shares(present, having, goals)
            shares |= {name: found[name] for name in names if name in found}
            partial |= {name: len(having) for name in names if name in found}
    if not shares:
        return None
    return Importance(method=_FOREST, shares=_largest_first(shares), num_settings=len(settings), partial=partial, fit=fit)


def _largest_first(shares: dict[str, float]) -> dict[str, float]:
    return dict(sorted(shares.items(), key=lambda item: -item[1]))


def _patterns(axes: Sequence[SweptAxis], settings: Sequence[Setting]) -> list[list[str]]:
    """The axes that only some settings have, those of the same settings together."""
    patterns: dict[tuple[bool, ...], list[str]] = {}
    for axis in axes:
        has = tuple(axis.name in setting.values for setting in settings)
        if any(has) and not all(has):
            patterns.setdefault(has, []).append(axis.name)
    return list(patterns.values())


def _scaled(settings: Sequence[Setting]) -> "Array | None":
    """The goals around 0, at most 1 in size; None where they are too few, or all the same."""
    import numpy as np

    if len(settings) < _LEAST:
        return None
    goals = np.array([setting.goal for setting in settings])
    size = np.abs(goals).max()
    if size == 0:
        return None
    goals = goals / size
    goals -= goals.mean()
    extent = float(np.abs(goals).max())
    return goals / extent if extent > _SAME else None


def _is_grid(axes: Sequence[SweptAxis], settings: Sequence[Setting]) -> bool:
    """Whether the settings are all combinations of lists of values, each once."""
    if any(axis.sampled for axis in axes) or len(settings) != prod(len(axis.values) for axis in axes):
        return False
    return len({tuple(setting.values[axis.name] for axis in axes) for setting in settings}) == len(settings)


def _exact_share(axis: SweptAxis, settings: Sequence[Setting], goals: "Array") -> float:
    import numpy as np

    place = np.array([int(axis.place(setting.values[axis.name])) for setting in settings])
    means = np.bincount(place, weights=goals) / np.bincount(place)
    return float(means.var() / goals.var())


def _forest_shares(
    axes: Sequence[SweptAxis], settings: Sequence[Setting], goals: "Array"
) -> tuple[dict[str, float], float | None]:
    """Axis -> its share, and the R2 of each setting's prediction by the trees that were made without it. An axis with one value
    among these settings has no share."""
    import numpy as np
    from sklearn.ensemble import RandomForestRegressor

    varied = [axis for axis in axes if len({setting.values[axis.name] for setting in settings}) > 1]
    if not varied:
        return {}, None
    places = np.array([[axis.place(setting.values[axis.name]) for axis in varied] for setting in settings])
    extents = np.array([axis.extent for axis in varied])
    forest = RandomForestRegressor(
        n_estimators=_TREES,
        max_depth=_DEPTH,
        oob_score=True,
        random_state=0,
        max_samples=_LARGEST_TREE if len(settings) > _LARGEST_TREE else None,
    ).fit(places, goals)
    shares = [found for tree in forest.estimators_ if (found := _tree_shares(tree.tree_, extents)) is not None]
    if not shares:
        return {}, None
    means = np.mean(shares, axis=0)
    return {axis.name: float(share) for axis, share in zip(varied, means, strict=True)}, float(forest.oob_score_)


def _tree_shares(tree: Any, extents: "Array") -> "Array | None":
    """For each axis, the variance of the tree's mean over all other axes, as a share of its variance. None for a tree that is
    the same everywhere.

    A tree is constant on the box of each leaf. Over one axis, its mean over the others is a step function, whose steps are at
    the boxes' ends: the sum of the boxes' values, each weighted with the part of the other axes that it takes up.
    """
    import numpy as np

    boxes = _boxes(tree, extents)
    leaves = np.flatnonzero(tree.feature < 0)
    values = tree.value[leaves].reshape(-1)
    parts = (boxes[leaves, :, 1] - boxes[leaves, :, 0]) / (extents[:, 1] - extents[:, 0])  # leaf, axis
    weights = parts.prod(axis=1)
    values = values - values @ weights
    variance = weights @ values**2
    if variance <= _SAME**2:
        return None
    shares = np.empty(len(extents))
    for axis in range(len(extents)):
        ends = np.unique(boxes[leaves, axis])
        steps = np.zeros(len(ends))
        heights = values * np.delete(parts, axis, axis=1).prod(axis=1)
        np.add.at(steps, np.searchsorted(ends, boxes[leaves, axis, 0]), heights)
        np.subtract.at(steps, np.searchsorted(ends, boxes[leaves, axis, 1]), heights)
        widths = np.diff(ends) / (extents[axis, 1] - extents[axis, 0])
        shares[axis] = widths @ np.cumsum(steps)[:-1] ** 2 / variance
    return shares


def _boxes(tree: Any, extents: "Array") -> "Array":
    """node, axis, (low, high): where each node of a tree is."""
    import numpy as np

    boxes = np.empty((tree.node_count, *extents.shape))
    boxes[0] = extents
    level = np.array([0])
    while level.size:
        level = level[tree.feature[level] >= 0]
        left, right, axis = tree.children_left[level], tree.children_right[level], tree.feature[level]
        boxes[left] = boxes[right] = boxes[level]
        boxes[left, axis, 1] = boxes[right, axis, 0] = tree.threshold[level]
        level = np.concatenate([left, right])
    return boxes

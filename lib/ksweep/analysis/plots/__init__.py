"""The pictures of a sweep, a module each: `Findings` in, a PNG out, or None where there is nothing to show.

figures    what all of them share: colours, type, axes, PNG       swept    the axes: values in order, scales
metrics    which metrics, and which way each is better            curves   the goal over the epochs
spans      when each run was at work
"""

from collections.abc import Callable

from ksweep.analysis.findings import Findings

_Picture = Callable[[Findings], bytes | None]


def draw_plots(findings: Findings) -> dict[str, bytes | None]:
    """File name -> picture, of all that there are, in the order in which they are read; None for one of which there is nothing to
    show. Heatmaps are there by the pairs of axes that they show."""
    from ksweep.analysis.plots.heatmaps import heatmap_pngs

    before, after = _pictures()
    drawn = {name: picture(findings) for name, picture in before.items()}
    return drawn | heatmap_pngs(findings) | {name: picture(findings) for name, picture in after.items()}


def _pictures() -> tuple[dict[str, _Picture], dict[str, _Picture]]:
    """Those before the heatmaps and those after them; imported here, so that a command that draws nothing stays instant."""
    from ksweep.analysis.plots.devices import devices_png
    from ksweep.analysis.plots.history import history_png
    from ksweep.analysis.plots.importance import importance_png
    from ksweep.analysis.plots.learning_curves import learning_curves_png
    from ksweep.analysis.plots.parallel_coordinates import parallel_coordinates_png
    from ksweep.analysis.plots.pareto import pareto_png
    from ksweep.analysis.plots.ranking import ranking_png
    from ksweep.analysis.plots.rungs import rungs_png
    from ksweep.analysis.plots.scores_by_value import scores_by_value_png
    from ksweep.analysis.plots.slices import slices_png
    from ksweep.analysis.plots.timeline import timeline_png

    return {
        "ranking.png": ranking_png,
        "pareto.png": pareto_png,
        "learning_curves.png": learning_curves_png,
        "history.png": history_png,
        "importance.png": importance_png,
        "scores_by_value.png": scores_by_value_png,
        "slices.png": slices_png,
    }, {
        "parallel_coordinates.png": parallel_coordinates_png,
        "rungs.png": rungs_png,
        "timeline.png": timeline_png,
        "devices.png": devices_png,
    }

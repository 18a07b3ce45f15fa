"""Tune the threshold and the lambda of adaptive computation time (ACT): a sweep of the transformer over both, ranked by a score.

  test_matrix_results/act_tuning/
    act_tuning_range           the range file that is run, with comments; make sweep goes on with it as well
    act_tuning_results.json    best values, best score, all results
    sweep_.../                 an ordinary sweep: its report, its pictures, a directory for each run

Scores, all of them minimised: perplexity = val_ppl, layers = layers_mean, balanced = val_ppl + 10*layers_mean, or an expression
over the metrics of a run. The same command continues after any interruption, and starts nothing when all is done. From Python:
`from ksweep import tune_act`.
Exit code: 0 all good, 1 some runs failed, 2 the request was wrong.
"""

import argparse
import inspect
import re
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from ksweep.analysis.evidence import best_of, from_here
from ksweep.analysis.findings import Findings, find
from ksweep.analysis.formats import number, plural
from ksweep.analysis.load import SEED, RunRecord
from ksweep.analysis.ranking import Group, Verdict
from ksweep.cli import sweep_command
from ksweep.cli.put_file import put_file
from ksweep.cli.range_output import check_range
from ksweep.cli.tree import Tree, say
from ksweep.contract.atomic import write_json
from ksweep.contract.errors import KsweepError, RequestError
from ksweep.contract.outcome import Status, read_result
from ksweep.contract.paths import SweepDir
from ksweep.space.objective import parse_objectives
from ksweep.space.values import ValueProblem, value_text
from ksweep.sweep.store import check_results_root, find_continuable

SCORES = {"balanced": "val_ppl + 10*layers_mean", "layers": "layers_mean", "perplexity": "val_ppl"}
ALLOWED = f"score: allowed: {', '.join(SCORES)}, or one expression over metrics that the model reports"
RANGE, RESULTS, CONFIGS = "act_tuning_range", "act_tuning_results.json", "sweep_configs"
AXES = {"ACT_THRESHOLD": "threshold", "ACT_LAMBDA": "lambda"}
Number = float | str  # a text is written as it stands: "0.10" stays "0.10"


def tune_act(
    thresholds: Iterable[Number] = (0.5, 0.8, 0.9, 0.95, 0.99),
    lambdas: Iterable[Number] = (0.001, 0.005, 0.01, 0.05, 0.1),
    epochs: Number = 3,
    score: str = "balanced",
    *,
    output_dir: str | Path = "test_matrix_results/act_tuning",
    data: str = "pydoc",
    data_path: str | Path = "data",
    batch_size: Number = 32,
    d_model: Number = 64,
    layers: Number = 4,
    length: Number = 128,
    experts: Number = 4,
    learning_rate: Number = 0.003,
    seeds: Number = 1,
    jobs: Number | None = None,
    symbols: Mapping[str, object] | None = None,
) -> dict[str, Any]:
    """Train a language model with ACT at each threshold and lambda, and find the best pair: the sweep that `make sweep` runs.

    It prints what `make sweep` prints. The same call again continues after any interruption, and trains nothing when all is done;
    with more values it trains the new ones only.

    Args:
        thresholds: above 0, up to 1: a token stops at the layer at which its halting units sum up to this.
        lambdas: 0 or more: weight of the ponder cost in the loss.
        epochs: passes over the training part.
        score: "perplexity" (val_ppl), "layers" (layers_mean: whole layers that a token enters, 1 to `layers`), "balanced"
            (val_ppl + 10*layers_mean), or an expression over the metrics of a run (SWEEP_OBJECTIVE). The smallest is best; with
            :max behind an expression the largest.
        output_dir: where the range file, the results and the sweep go.
        data: DATASET, a text: pydoc and graded need no download.
        data_path: DATA_DIR, for the texts that lie in files; relative to the top of the tree.
        batch_size, d_model, layers, length, experts, learning_rate: of training and model, the same for all.
        seeds: runs of each pair, with seeds 1, 2, ...; pairs are compared by their means.
        jobs: runs at a time. None: one for each GPU, or for each CPU core.
        symbols: any other symbols of Kconfig, as in a range file: {"TRANSFORMER_DROPOUT": 0.1}. One with several values,
            {"HALTING_BIAS": "-1|-3"}, is swept as well.

    Returns:
        best_config: "threshold" and "lambda" of the best pair, and whatever else was swept.
        best_score: its score, the mean over its seeds.
        best_result: best_config, "score", "score_half_width" (of the 95 % interval of its mean; None with one seed), "seeds",
            and each metric, the mean over the seeds.
        tied: what was swept of the others that cannot be told from the best one; with one seed each nothing is known, and none
            is here.
        all_results: a dict for each run, all with the same keys: threshold, lambda, seed, status, reason, config, score and
            metrics. None is what is not there, such as the score of a run that failed.
        model_config: what the model was built with: vocab_size, d_model, n_layers, n_seq, num_experts, num_parameters.
        sweep_dir: the directory of the sweep.

    Raises:
        RequestError: what was asked for is not possible; nothing was started.
        KsweepError: no run passed, or the sweep was stopped before its end; the message says why.
    """
    axes = {"ACT_THRESHOLD": _texts("thresholds", thresholds), "ACT_LAMBDA": _texts("lambdas", lambdas)}
    fixed = {
        "MODEL_SELECT_TRANSFORMER": "y",
        "TRANSFORMER_HALTING": "act",
        "TRANSFORMER_D_MODEL": d_model,
        "TRANSFORMER_LAYERS": layers,
        "MOE_EXPERTS": experts,
        "DATASET": data,
        "DATA_DIR": data_path,
        "SEQUENCE_LENGTH": length,
        "BATCH_SIZE": batch_size,
        "NUM_EPOCHS": epochs,
        "LEARNING_RATE": learning_rate,
        "SWEEP_OBJECTIVE": _objective(score),
        "SWEEP_DIRECTION": "minimize",
        "SWEEP_REPEATS": seeds,
    }
    fixed |= {} if jobs is None else {"SWEEP_PARALLEL_JOBS": jobs}
    lines = {name: value_text(_text(value)) for name, value in fixed.items()}
    lines |= {name: "|".join(map(value_text, texts)) for name, texts in axes.items()}
    plan = _plan(lines, score, " x ".join(plural(len(texts), AXES[name]) for name, texts in axes.items()))
    dir = _sweep(plan, _range_text(plan, lines, _more(symbols or {}, lines)), Path(output_dir))
    results = _results(find(dir), {name: texts[0] for name, texts in axes.items()})
    _write(dir.path.parent / RESULTS, results)
    return results


def add_arguments(parser: argparse.ArgumentParser) -> None:
    """See the module docstring. Values stay text: Kconfig checks them, and says what is allowed."""
    add = parser.add_argument
    add("--thresholds", nargs="+", metavar="T", help="halting thresholds (default: %(default)s)")
    add("--lambdas", nargs="+", metavar="L", help="weights of the ponder cost (default: %(default)s)")
    add("--epochs", metavar="N", help="epochs of each run (default: %(default)s)")
    add("--score-metric", metavar="S", dest="score", help=f"{', '.join(SCORES)}, or an expression (default: %(default)s)")
    add("--output-dir", metavar="D", help="where range file, results and sweep go (default: %(default)s)")
    add("--dataset", metavar="X", dest="data", help="the text: pydoc, graded, wikitext-2 ... (default: %(default)s)")
    add("--data-path", metavar="D", help="where texts lie that do not come with Python (default: %(default)s)")
    add("--batch-size", metavar="N", help="sequences of a step (default: %(default)s)")
    add("--d-model", metavar="N", help="width (default: %(default)s)")
    add("--n-layers", metavar="N", dest="layers", help="layers (default: %(default)s)")
    add("--n-seq", metavar="N", dest="length", help="tokens of a sequence (default: %(default)s)")
    add("--num-experts", metavar="N", dest="experts", help="experts in each MLP; 1: a plain MLP (default: %(default)s)")
    add("--lr", metavar="X", dest="learning_rate", help="learning rate (default: %(default)s)")
    add("--seeds", metavar="N", help="runs of each pair, which is ranked by their mean (default: %(default)s)")
    add("--jobs", metavar="N", help="runs at a time (default: one for each GPU, or CPU core)")
    add("--set", nargs="+", metavar="SYMBOL=V", dest="symbols", help="more symbols, as a range file has them: HALTING_BIAS=-3")
    parser.set_defaults(**{name: parameter.default for name, parameter in inspect.signature(tune_act).parameters.items()})


def run(args: argparse.Namespace) -> int:
    """See the module docstring."""
    given = vars(args) | {"symbols": dict(_pair(text) for text in args.symbols or ())}
    results = tune_act(**given)
    say("\n" + "\n".join(_told(results, Path(given["output_dir"]))))
    return 1 if any(Status(row["status"]).is_bad for row in results["all_results"]) else 0


def _told(results: Mapping[str, Any], place: Path) -> list[str]:
    """The best pair, what it gains, and where all of it is."""
    best, num_layers = results["best_result"], results["model_config"]["n_layers"]
    half_width = best["score_half_width"]
    spread = "one seed, no interval known" if half_width is None else f"± {number('', half_width)}, 95% interval of the mean"
    tied = [" ".join(f"{value}" for value in other.values()) for other in results["tied"]]
    ppl, layers, by_layers, measured = (
        number("", best.get(name)) for name in ("val_ppl", "layers_mean", "speedup_layers", "speedup_measured")
    )
    sweep = SweepDir(Path(results["sweep_dir"]))
    places = {"all results": place / RESULTS, "report": sweep.report, "pictures": sweep.plots}
    return [
        "best: " + ", ".join(f"{name} {value}" for name, value in results["best_config"].items()),
        f"score: {number('', results['best_score'])} ({spread}); val_ppl {ppl}, layers_mean {layers} of {num_layers}",
        *([f"within noise of it: {', '.join(tied)}"] if tied else []),
        f"speed-up of evaluation over all {num_layers} layers: {measured} measured, {by_layers} = {num_layers} / layers_mean",
        *(f"{name}: {from_here(path)}" for name, path in places.items() if path.exists()),
        f"next: make final (test it), sweep-refine, sweep-transfer, with RESULTS={from_here(sweep.path)}",
    ]


def _objective(score: str) -> str:
    """SWEEP_OBJECTIVE for a score. Whether the model reports its metrics is seen when the range file is checked."""
    text = SCORES.get(score, score)
    try:
        goals = parse_objectives(text, "minimize").goals
    except ValueProblem as problem:
        raise RequestError(str(problem), ALLOWED) from None
    if len(goals) != 1:
        raise RequestError(f'score: found "{score}": {len(goals)} goals', ALLOWED)
    return text


def _texts(name: str, values: Iterable[Number]) -> list[str]:
    texts = [] if isinstance(values, str) else [_text(value) for value in values]
    if not texts:
        raise RequestError(f"{name}: found {values!r}, allowed: a list of one number or more")
    return texts


def _text(value: object) -> str:
    """A number as Python prints it; numpy's and torch's scalars are taken for the floats that they are."""
    return str(value) if isinstance(value, str | int | Path) else repr(float(value))  # type: ignore[arg-type]


def _pair(text: str) -> tuple[str, str]:
    name, equals, value = text.partition("=")
    if not equals:
        raise RequestError(f'--set: found "{text}", allowed: SYMBOL=value')
    return name, value


def _more(symbols: Mapping[str, object], lines: Mapping[str, str]) -> dict[str, str]:
    """What `symbols` adds. RequestError where an argument sets it already, or it takes the grid away."""
    more = {name.removeprefix("CONFIG_"): str(value) for name, value in symbols.items()}
    problems = [f"symbols: {name}: an argument sets it, to {lines[name]}; give it there" for name in more if name in lines]
    if "SWEEP_STRATEGY" in more:
        problems.append(f"symbols: SWEEP_STRATEGY: every pair is run here; for another strategy: make sweep with {RANGE}")
    if problems:
        raise RequestError(*problems)
    return more


def _plan(lines: Mapping[str, str], score: str, pairs: str) -> str:
    meaning = f"{score} = {SCORES[score]}" if score in SCORES else score
    return f"ACT: {pairs}, seeds: {lines['SWEEP_REPEATS']}, epochs: {lines['NUM_EPOCHS']}, ranked by {meaning}"


def _range_text(plan: str, lines: Mapping[str, str], more: Mapping[str, str]) -> str:
    return "\n".join(
        [
            f"# {plan}",
            "# Written by tune_act. The same again: make sweep RANGE_CONFIG=<this file> RESULTS=<its directory>",
            *_assigned({name: value for name, value in lines.items() if name not in AXES}),
            *(["", "# Other symbols that were asked for", *_assigned(more)] if more else []),
            "",
            *_assigned({name: lines[name] for name in AXES}),
            "",
        ]
    )


def _assigned(values: Mapping[str, str]) -> list[str]:
    return [f"CONFIG_{name}={value}" for name, value in values.items()]


def _sweep(plan: str, text: str, place: Path) -> SweepDir:
    """Run the range file of this text in `place`; its sweep, ended. RequestError before anything is written."""
    if threading.current_thread() is not threading.main_thread():
        raise RequestError("tune_act: call it from the main thread, the only one that hears Ctrl-C")
    if SweepDir(place).sweep.exists():
        raise RequestError(f"output_dir: found {place}, which is a sweep itself; give a directory of its own")
    path = place / RANGE
    ids = _checked(text, path)
    check_results_root(place, len(ids))
    say(plan)
    say(put_file(path, text))
    unset = dict.fromkeys(("epochs", "jobs", "strategy", "trials")) | dict.fromkeys(("fresh", "yes", "dry_run"), False)
    sweep_command.run(argparse.Namespace(range=str(path), results=place, out=place / CONFIGS, **unset))
    found = find_continuable(place, str(path.resolve()), ids)
    assert found, "the sweep has just been run"
    return found[0]


def _checked(text: str, path: Path) -> set[str]:
    """The points of the range file. RequestError, as one who has not seen that file understands it."""
    try:
        expansion = check_range(Tree(), text, path).expansion
    except RequestError as error:
        problems = [re.sub(rf"^{re.escape(str(path))}:\d+: ", "", problem) for problem in error.problems]
        if any("SWEEP_OBJECTIVE" in problem for problem in problems):
            problems.append(ALLOWED)
        raise RequestError(*problems) from None
    assert expansion, "the strategy is a grid"
    return {point.id for point in expansion.points}


def _results(findings: Findings, fixed: dict[str, str]) -> dict[str, Any]:
    """What tune_act returns. `fixed`: for an axis of one value. KsweepError when there is no best, or runs are missing."""
    state = findings.state
    if state.num_finished < len(state.runs):
        missing = len(state.runs) - state.num_finished
        raise KsweepError(f"{state.dir.path}: stopped with {plural(missing, 'run')} to go; the same call continues")
    best = _best(findings)
    metrics = sorted({name for run in state.runs for name in run.metrics})
    goal = best.goals[0]
    config = _named(fixed | best.values)
    return {
        "best_config": config,
        "best_score": best.score.center,
        "best_result": config
        | {"score": best.score.center, "score_half_width": best.score.half_width}
        | {"seeds": [_read(run.seed) for run in best.counted]}
        | {name: best.over(name).center for name in metrics},
        "tied": [_named(fixed | other.values) for other in findings.ranking.ranked if other.verdict is Verdict.TIED],
        "all_results": [
            _named(fixed | {name: value for name, value in run.point.values.items() if name != SEED})
            | {"seed": _read(run.seed), "status": str(run.status), "reason": run.reason, "config": run.config}
            | {"score": run.value(goal) if run.status is Status.PASSED else None}
            | {name: run.metric(name) for name in metrics}
            for run in state.runs
        ],
        "model_config": _model_config(best.counted[0]),
        "sweep_dir": str(state.dir.path),
    }


def _best(findings: Findings) -> Group:
    try:
        return best_of(findings)
    except KsweepError as error:
        reasons = [f"{run.config}: {run.reason}" for run in findings.state.bad_runs[:1]]
        raise KsweepError("\n".join([str(error), *reasons])) from None


def _write(path: Path, results: dict[str, Any]) -> None:
    try:
        write_json(path, results)
    except OSError as error:
        raise KsweepError(f"{path}: cannot be written: {error.strerror}; the sweep itself is whole") from None


def _named(values: Mapping[str, str]) -> dict[str, Any]:
    return {AXES.get(name, name): _read(value) for name, value in values.items()}


def _read(text: str | None) -> int | float | str | None:
    """A swept value as a number, where it is one."""
    if text is None:
        return None
    try:
        return int(text) if text.isdecimal() else float(text)
    except ValueError:
        return text


def _model_config(run: RunRecord) -> dict[str, Any]:
    """From the model as it was built, by the names of the ACT tuner that many come from."""
    result = read_result(run.dir)
    built = (result and result.effective) or {}
    model = built["transformer"]
    return {
        "vocab_size": built["vocabulary_size"],
        "d_model": model["d_model"],
        "n_layers": model["layers"],
        "n_seq": built["sequence_length"],
        "num_experts": model["experts"],
        "num_parameters": built["num_parameters"],
    }

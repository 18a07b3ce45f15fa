"""What a tuning run promises: dense is a candidate, nothing is lost, the model is left alone, the winner is proven."""

import copy
import itertools
import math
import time
import warnings
from collections.abc import Callable
from typing import Any

import pytest
import torch
from optuna.samplers import BruteForceSampler, CmaEsSampler, GridSampler, RandomSampler, TPESampler
from torch import nn

from ksweep.nn.low_rank import LowRankLinear
from ksweep.nn.sketched import SketchedLinear
from ksweep.tuner import Categorical, Float, Int, LayerConfig, OptunaSearch, SKAutoTuner, TuningConfigs, apply_saved
from ksweep.tuner.assessor import Times
from ksweep.tuner.evaluate import NeverCalled
from ksweep.tuner.trials import TrialStatus
from tests.unit.tuner.trained import accuracy_on, part, same_weights, smallness, trained

RANKS = {"rank": Categorical([4, 8, 16, 24])}
EvalFunc = Callable[[nn.Module], Any]


def tuner(model: nn.Module | None = None, params: Any = None, layers: Any = None, **options: Any) -> SKAutoTuner:
    """Over the two wide layers of a trained network, at 0.97 of its accuracy."""
    options.setdefault("accuracy_threshold", 0.97)
    options.setdefault("relative_threshold", True)
    options.setdefault("optimization_eval_func", smallness)
    options.setdefault("accuracy_eval_func", accuracy_on("search"))
    options.setdefault("search_algorithm", OptunaSearch(n_trials=20, seed=1))
    configs = TuningConfigs([LayerConfig(layers or ["0", "2"], params or RANKS)])
    return SKAutoTuner(model or trained(), configs, **options)


def test_tuned_model_is_smaller_and_keeps_its_accuracy_on_data_that_the_search_has_not_seen() -> None:
    model = trained()
    made = tuner(model, holdout_eval_func=accuracy_on("held"))
    before = trained()

    best = made.tune()
    tuned = made.apply_best_params()

    assert made.verification is not None
    held = accuracy_on("held")
    assert made.verification.on == "held-out data"
    assert held(tuned) == made.verification.accuracy >= made.verification.floor == 0.97 * held(before)
    assert smallness(tuned) > 1.5 * smallness(model)
    assert any(of["params"] for of in best.values())
    assert same_weights(model, before), "the model that was given is as it was"
    for name, layer in tuned.named_modules():
        if name in ("0", "2") and best[name]["params"]:
            assert isinstance(layer, LowRankLinear)
        else:
            assert type(layer) is type(dict(model.named_modules())[name]), "all other layers are what they were"


def test_in_place_changes_the_model_itself_and_ends_the_tuner() -> None:
    model = trained()
    made = tuner(model)
    made.tune()

    assert made.apply_best_params(in_place=True) is model
    assert isinstance(model[2], LowRankLinear)
    with pytest.raises(RuntimeError, match="changed in place: make a new SKAutoTuner"):
        made.tune()
    with pytest.raises(RuntimeError, match="changed in place"):
        made.apply_best_params()


def test_every_trial_keeps_its_metrics_and_dense_is_one_of_each_layer() -> None:
    made = tuner(params={"rank": Categorical([1, 2, 24])})
    made.tune()
    frame = made.get_results_dataframe()

    rejected = frame[frame["status"] == "rejected"]
    assert len(rejected) > 0
    assert rejected[["accuracy", "speed", "error", "num_bytes"]].notna().all(axis=None)
    assert rejected["score"].isna().all()
    assert rejected["reason"].str.contains("is below").all()
    dense = frame[frame["status"] == "dense"]
    assert {"0", "2"} <= set(dense["layer_name"])
    assert dense["rank"].isna().all()
    best = frame.loc[frame.groupby("layer_name")["score"].idxmax()]
    assert (best["accuracy"] >= made.dense.accuracy * 0.97).all()


def test_what_would_store_no_less_is_never_tried() -> None:
    made = tuner(layers=["0", "2", "4"], params={"rank": Int(4, 64, step=20)})
    made.tune()

    for name, sides in {"0": (64, 96), "2": (96, 96), "4": (96, 10)}.items():
        tried = [trial.params["rank"] for trial in made.trials if trial.layer_name == name]
        assert tried == [] or max(tried) * sum(sides) < math.prod(sides)
    assert {trial.layer_name for trial in made.trials} >= {"0", "2", "4"}


def test_nothing_is_evaluated_twice_and_settings_that_come_to_the_same_are_one() -> None:
    made = tuner(params={"num_terms": Categorical([1, 2, 3, 4]), "low_rank": Categorical([1, 2, 3, 4])})
    made.tune()

    ranks = [2 * trial.params["num_terms"] * trial.params["low_rank"] for trial in made.trials if trial.layer_name == "2"]
    assert sorted(ranks) == [2, 4, 6, 8, 12, 16, 18, 24, 32]
    built = [tuple(sorted((k, tuple(sorted(v.items()))) for k, v in trial.settings.items())) for trial in made.trials]
    assert len(set(built)) == len(built)


def test_layers_that_pass_alone_and_fail_together_are_found_out() -> None:
    """Each loses little alone; the threshold is just below that. Dense layers must come back until it holds."""
    model, accuracy = trained(), accuracy_on("search")

    def counting_replaced(model: nn.Module) -> float:
        return 1.0 - 0.1 * sum(isinstance(layer, LowRankLinear) for layer in model) + 0 * accuracy(model)

    made = tuner(model, accuracy_eval_func=counting_replaced, accuracy_threshold=0.85, relative_threshold=False)
    best = made.tune()

    assert sum(bool(of["params"]) for of in best.values()) == 1
    assert counting_replaced(made.apply_best_params()) == 0.9


def test_held_out_data_roll_layers_back_one_by_one() -> None:
    def on_held(model: nn.Module) -> float:
        accuracy_on("held")(model)
        return 1.0 - 0.1 * sum(isinstance(layer, LowRankLinear) for layer in model)

    made = tuner(holdout_eval_func=on_held, accuracy_threshold=0.9, relative_threshold=True)
    made.tune()

    assert made.verification is not None
    assert len(made.verification.rolled_back) == 1
    assert made.verification.accuracy == 0.9
    steps = [trial for trial in made.trials if trial.layer_name == "(verified)"]
    assert [round(trial.accuracy or 0, 6) for trial in steps] == [1.0, 0.8, 0.9]
    assert on_held(made.apply_best_params()) == 0.9


def test_value_that_is_no_number_is_a_failed_trial() -> None:
    accuracy, bad = accuracy_on("search"), {4: None, 8: math.nan, 12: math.inf, 16: "high", 20: [0.5]}

    def sometimes(model: nn.Module) -> Any:
        value = accuracy(model)
        return bad.get(model[2].rank, value) if isinstance(model[2], LowRankLinear) else value

    made = tuner(accuracy_eval_func=sometimes, layers=["2"], params={"rank": [*bad, 24]})
    made.tune()

    failed = {trial.params["rank"] for trial in made.trials if trial.status is TrialStatus.FAILED and trial.reason}
    assert failed == set(bad)
    assert made.get_best_params()["2"]["params"] == {"rank": 24}


def test_interrupt_leaves_the_model_and_what_has_ended() -> None:
    model, accuracy, num_calls = trained(), accuracy_on("search"), itertools.count()

    def interrupted(given: nn.Module) -> float:
        if next(num_calls) == 5:
            raise KeyboardInterrupt
        return accuracy(given)

    made = tuner(model, accuracy_eval_func=interrupted)
    with pytest.raises(KeyboardInterrupt):
        made.tune()

    assert same_weights(model, trained())
    assert len(made.trials) == 3  # calls 0 and 1 were of the dense model
    with pytest.raises(RuntimeError, match="let it end"):
        made.save_tuning_results("never")


@pytest.mark.parametrize("unit", [-1e-4, 1e-9])
def test_speed_is_never_compared_with_an_accuracy(unit: float) -> None:
    """Minus a latency, and a tiny throughput: both below any accuracy."""

    def speed(model: nn.Module) -> float:
        size = sum(tensor.numel() for tensor in model.state_dict().values())
        return unit * (size if unit < 0 else 1 / size)

    made = tuner(layers=["2"], optimization_eval_func=speed)
    made.tune()

    assert made.dense.score == speed(trained())
    assert made.get_best_params()["2"]["params"]


def test_attention_that_is_called_by_keywords_is_timed() -> None:
    class Attending(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.attention = nn.MultiheadAttention(16, 2, batch_first=True)

        def forward(self, *, rows: Any) -> Any:
            return self.attention(query=rows, key=rows, value=rows, need_weights=False)[0]

    times = Times(Attending(), ["attention"], ((), {"rows": torch.zeros(3, 64, 16)}), 1)

    assert times.num_examples == 3
    assert times.predicted({"attention": nn.Identity()}) < times.dense_seconds


def test_exception_of_a_function_is_recorded_and_leaves_the_model_bit_identical() -> None:
    model, accuracy = trained(), accuracy_on("search")

    def broken(given: nn.Module) -> float:
        value = accuracy(given)
        if any(isinstance(layer, LowRankLinear) for layer in given):
            with torch.no_grad():
                given[0].to_dense().weight.zero_() if isinstance(given[0], LowRankLinear) else given[0].weight.zero_()
            given.train()
            raise RuntimeError("CUDA error: device-side assert triggered")
        return value

    made = tuner(model, accuracy_eval_func=broken)
    best = made.tune()

    assert all(not of["params"] for of in best.values())
    assert all("device-side assert" in trial.reason for trial in made.trials)
    assert same_weights(model, trained())
    assert not model.training
    assert same_weights(made.apply_best_params(), model)


@pytest.mark.parametrize("kind", ["exception", "nan", "none", "timeout"])
@pytest.mark.parametrize(
    ("phase", "num_replaced", "left"),
    [("search", 1, 0), ("search", 2, 1), ("held", 2, 1), ("held", 1, 0), ("speed", 1, 0)],
)
def test_fault_in_any_phase_is_recorded_and_leaves_the_model_bit_identical(
    phase: str, num_replaced: int, left: int, kind: str
) -> None:
    """`num_replaced`: the fault is with so many layers replaced, or more; `left`: layers that stay replaced all the same."""
    model = trained()

    def faulty(at: str, function: EvalFunc) -> EvalFunc:
        def evaluate(given: nn.Module) -> Any:
            value = function(given)
            if at != phase or sum(isinstance(layer, LowRankLinear) for layer in given) < num_replaced:
                return value
            with torch.no_grad():
                given[4].weight.zero_()
            given.train()
            while kind == "timeout":
                pass
            if kind == "exception":
                raise RuntimeError("out of memory")
            return math.nan if kind == "nan" else None

        return evaluate

    made = tuner(
        model,
        params={"rank": [16, 24]},
        accuracy_eval_func=faulty("search", accuracy_on("search")),
        holdout_eval_func=faulty("held", accuracy_on("held")),
        optimization_eval_func=faulty("speed", smallness),
        accuracy_threshold=0.9,
        evaluation_timeout=0.15 if kind == "timeout" else None,
    )
    best = made.tune()

    assert sum(bool(of["params"]) for of in best.values()) == left
    words = {"exception": "out of memory", "nan": "returned nan", "none": "returned None", "timeout": "not through after"}
    failed = [trial for trial in made.trials if words[kind] in trial.reason]
    assert failed
    assert all(trial.status is TrialStatus.FAILED for trial in failed)
    if phase == "held":
        assert made.verification is not None
        assert words[kind] in " ".join(made.verification.rolled_back.values())
    assert same_weights(model, trained())
    assert not any(module.training or module._forward_pre_hooks for module in model.modules())


@pytest.mark.parametrize("of_dense", [True, False])
def test_speed_that_fails_in_the_verification_alone_is_no_gain(of_dense: bool) -> None:
    is_searched = False

    def speed(model: nn.Module) -> Any:
        return None if is_searched and isinstance(model[2], LowRankLinear) is not of_dense else smallness(model)

    def held(model: nn.Module) -> float:
        nonlocal is_searched
        is_searched = True
        return accuracy_on("held")(model)

    made = tuner(layers=["2"], optimization_eval_func=speed, holdout_eval_func=held, accuracy_threshold=0.9)

    assert made.tune()["2"]["params"] == {}
    assert made.verification is not None
    assert "gave no speed of the whole" in made.verification.rolled_back["2"]


def test_dense_model_without_an_accuracy_on_held_out_data_is_told_by_the_function() -> None:
    made = tuner(holdout_eval_func=lambda model: math.nan)

    with pytest.raises(RuntimeError, match="holdout_eval_func: the dense model could not be measured: the function returned nan"):
        made.tune()


def test_evaluation_that_takes_too_long_is_a_failed_trial() -> None:
    accuracy = accuracy_on("search")

    def slow(model: nn.Module) -> float:
        value = accuracy(model)
        while isinstance(model[2], LowRankLinear) and model[2].rank == 8:
            pass
        return value

    made = tuner(accuracy_eval_func=slow, layers=["2"], evaluation_timeout=0.3)
    made.tune()

    assert [trial.params for trial in made.trials if "timeout" in trial.reason] == [{"rank": 8}]


def test_function_that_measures_another_model_is_found_out() -> None:
    """A forward bound to the model that was copied: what the published result of a 75 % reduction had measured."""
    model = trained()
    former = model.forward
    model.forward = lambda images: former(images)  # type: ignore[method-assign]

    with pytest.raises(NeverCalled, match="evaluates another model"):
        tuner(model).tune()


def test_repeats_are_told_by_their_median_and_spread() -> None:
    values, accuracy = iter([0.2, 0.9, 0.5] * 100), accuracy_on("search")

    def noisy(model: nn.Module) -> float:
        accuracy(model)
        return next(values)

    made = tuner(
        accuracy_eval_func=noisy,
        layers=["2"],
        accuracy_threshold=None,
        relative_threshold=False,
        num_runs_per_param=3,
        calibration_data=[torch.rand(8, 64)],
    )
    made.tune()

    assert {trial.accuracy for trial in made.trials} == {0.5}
    assert all(trial.accuracy_spread == pytest.approx(0.7) for trial in made.trials)


def test_repeats_start_from_the_same_weights_whatever_the_function_does_to_the_model() -> None:
    num_repeats, (images, labels) = 3, part("train")
    started: list[float] = []

    def training(model: nn.Module) -> float:
        started.append(sum(float(weight.detach().double().sum()) for weight in model.parameters()))
        gradients = torch.autograd.grad(nn.functional.cross_entropy(model(images), labels), list(model.parameters()))
        with torch.no_grad():
            for weight, gradient in zip(model.parameters(), gradients, strict=True):
                weight -= 0.5 * gradient
        return accuracy_on("search")(model)

    made = tuner(
        accuracy_eval_func=training,
        layers=["2"],
        num_runs_per_param=num_repeats,
        calibration_data=[images],
        holdout_eval_func=training,
    )
    made.tune()

    assert len(started) > 4 * num_repeats
    for start in range(0, len(started), num_repeats):
        assert len(set(started[start : start + num_repeats])) == 1
    assert all(trial.accuracy_spread == 0 for trial in made.trials)


def test_two_joint_groups_are_combined_and_named_by_their_layers() -> None:
    model = nn.Sequential(*itertools.chain(*((layer, nn.ReLU()) for layer in list(trained())[::2])))
    model.insert(4, nn.Linear(96, 96))
    with torch.no_grad():
        nn.init.eye_(model[4].weight)
        nn.init.zeros_(model[4].bias)
    configs = [
        LayerConfig(["0", "2"], {"rank": [8, 16]}, separate=False),
        LayerConfig(["4", "5"], {"rank": [4, 24]}, separate=False),
    ]
    made = SKAutoTuner(model, configs, accuracy_on("search"), 0.9, smallness, OptunaSearch(n_trials=9), relative_threshold=True)
    best = made.tune()

    assert list(dict.fromkeys(trial.layer_name for trial in made.trials)) == ["0_2", "4_5", "(combined)"]
    assert best["0"]["params"] == best["2"]["params"] != {}
    combined = [trial for trial in made.trials if trial.layer_name == "(combined)"]
    assert combined
    for trial in combined:
        assert trial.settings["0"] == trial.settings["2"]
        assert set(trial.params) == {"0_2.rank", "4_5.rank"}


def test_joint_group_is_not_taken_for_a_layer_of_its_name() -> None:
    model = nn.Sequential()
    for name in ("a", "b", "a_b"):
        model.add_module(name, nn.Linear(64, 64))
    configs = [LayerConfig(["a", "b"], {"rank": [4, 8]}, separate=False), LayerConfig(["a_b"], {"rank": [2, 6]})]
    made = SKAutoTuner(model, configs, lambda m: 1.0 + 0 * accuracy_on("search")(m), 0.5, smallness, OptunaSearch(n_trials=9))
    best = made.tune()

    assert {name: of["params"] for name, of in best.items()} == {"a": {"rank": 4}, "b": {"rank": 4}, "a_b": {"rank": 2}}
    tried = {name: sorted(t.params["rank"] for t in made.trials if t.layer_name == name) for name in ("a_b", "a + b")}
    assert tried == {"a_b": [2, 6], "a + b": [4, 8]}


def test_tied_layers_stay_tied_and_dense() -> None:
    model = trained()
    model.add_module("5", nn.Linear(10, 96, bias=False))
    model[5].weight = nn.Parameter(torch.zeros(96, 10))
    model.add_module("6", nn.Linear(96, 96))
    model[6].weight = model[2].weight

    with pytest.warns(UserWarning, match="2 stays dense: its weights are those of 6 too"):
        made = tuner(model, layers=["0", "2"], accuracy_eval_func=lambda m: float(m(torch.ones(1, 64)).isfinite().all()))
    made.tune()
    tuned = made.apply_best_params()

    assert tuned[2].weight is tuned[6].weight
    assert "2" not in made.get_best_params()


def test_joint_layers_share_their_setting() -> None:
    made = SKAutoTuner(
        trained(),
        [LayerConfig(["0", "2"], {"rank": [8, 16]}, separate=False)],
        accuracy_on("search"),
        0.9,
        smallness,
        OptunaSearch(n_trials=5),
    )
    best = made.tune()

    assert best["0"]["params"] == best["2"]["params"] != {}
    assert {trial.layer_name for trial in made.trials} == {"0_2"}


def test_auto_finds_ranks_by_itself() -> None:
    made = SKAutoTuner(trained(), TuningConfigs([LayerConfig({"type": "Linear"}, "auto")]), accuracy_on("search"), verbose=True)
    made.tune()

    assert made.verification is not None
    assert made.verification.accuracy >= made.verification.dense_accuracy
    assert len({trial.params["rank"] for trial in made.trials if trial.layer_name == "2"}) > 2


def test_without_a_threshold_nothing_is_given_up_and_speed_is_still_measured() -> None:
    made = tuner(accuracy_threshold=None, relative_threshold=False)
    made.tune()

    assert all(trial.score == trial.accuracy and trial.speed is not None for trial in made.trials)
    assert accuracy_on("search")(made.apply_best_params()) >= made.dense.accuracy


def test_threshold_without_a_speed_function_uses_the_tuner_s_own_timing() -> None:
    made = tuner(optimization_eval_func=None)
    made.tune()

    assert all(trial.speed and trial.speed > 0 for trial in made.trials if trial.layer_name in ("0", "2"))
    assert made.verification is not None
    if any(of["params"] for of in made.get_best_params().values()):
        assert made.verification.timing is not None
        assert made.verification.timing["high"] >= 1


def test_threshold_that_dense_itself_misses_warns_and_keeps_it() -> None:
    with pytest.warns(UserWarning, match="dense model's own accuracy"):
        best = tuner(accuracy_threshold=1.01, relative_threshold=False).tune()

    assert all(not of["params"] for of in best.values())


@pytest.mark.parametrize("kind", [TPESampler, RandomSampler, CmaEsSampler, BruteForceSampler])
@pytest.mark.filterwarnings("ignore::optuna.exceptions.ExperimentalWarning")
def test_any_sampler_of_optuna_searches(kind: Any) -> None:
    space = {"num_terms": Int(1, 4), "low_rank": Int(1, 6)}
    made = tuner(layers=["2"], params=space, search_algorithm=OptunaSearch(n_trials=6, sampler=kind(seed=1)))
    made.tune()

    trials = [trial for trial in made.trials if trial.layer_name == "2"]
    assert len({2 * trial.params["num_terms"] * trial.params["low_rank"] for trial in trials}) == len(trials) >= 6


def test_grid_ends_at_its_end() -> None:
    grid = GridSampler({"rank": [4, 16]})
    made = tuner(layers=["2"], params={"rank": Int(1, 40)}, search_algorithm=OptunaSearch(n_trials=50, sampler=grid))
    made.tune()

    assert sorted(trial.params["rank"] for trial in made.trials) == [4, 16]


def test_parallel_evaluations_come_to_the_same() -> None:
    alone, together = tuner(), tuner(num_workers=2)

    assert alone.tune() == together.tune()
    assert [t.params for t in alone.trials if t.layer_name == "2"] == [t.params for t in together.trials if t.layer_name == "2"]


def test_sketches_are_drawn_alike_each_time() -> None:
    def sketch() -> nn.Module:
        config = LayerConfig(["2"], {"num_terms": [1], "low_rank": [8]}, method="sketch")
        return SKAutoTuner(trained(), [config], accuracy_on("search")).replace_without_tuning()

    state = torch.random.get_rng_state()
    assert isinstance(sketch()[2], SketchedLinear)
    assert same_weights(sketch(), sketch())
    assert torch.equal(torch.random.get_rng_state(), state)


def test_replacing_without_tuning_takes_the_first_setting_and_leaves_the_model() -> None:
    model = trained()
    made = tuner(model)
    replaced = made.replace_without_tuning()

    assert [layer.rank for layer in replaced if isinstance(layer, LowRankLinear)] == [4, 4]
    assert same_weights(model, trained())


def test_study_of_all_layers_is_for_optuna_s_plots() -> None:
    made = tuner(params={"num_terms": [1, 2], "low_rank": Int(2, 8)})
    made.tune()
    study = made.search_algorithm.study

    assert {trial.params["layer"] for trial in study.trials} == {"0", "2"}
    assert study.best_trial.user_attrs["status"] == "passed"


def test_plot_is_drawn_headless(tmp_path: Any) -> None:
    made = tuner()
    made.tune()
    figure = made.visualize_tuning_results(save_path=str(tmp_path / "tuning.png"), show_plot=True)

    assert (tmp_path / "tuning.png").stat().st_size > 10_000
    assert [panel.get_title() for panel in figure.axes][:2] == ["0", "2"]


@pytest.mark.parametrize(
    ("options", "error", "words"),
    [
        ({"accuracy_threshold": "0.9"}, ValueError, "accuracy_threshold: found '0.9'"),
        ({"accuracy_threshold": 1.5}, ValueError, "above 0, up to 1"),
        ({"accuracy_threshold": None}, ValueError, "relative_threshold: accuracy_threshold is missing"),
        ({"num_runs_per_param": 0}, ValueError, "num_runs_per_param: found 0"),
        ({"accuracy_eval_func": None}, TypeError, "accuracy_eval_func: found None"),
        ({"optmization_eval_func": smallness}, TypeError, "give one"),
        ({"params": {"ranks": [1]}}, ValueError, "has no parameter 'ranks'; allowed: rank, num_terms, low_rank"),
        ({"layers": ["1"]}, ValueError, r'layer "1" \(ReLU\) cannot be compressed'),
        ({"layers": {"typ": "Linear"}}, ValueError, "typ"),
        ({"params": {"rank": [8, -1]}}, ValueError, r'layer "0" \(Linear\): rank: found -1, allowed: whole numbers from 1'),
        ({"params": {"rank": ["a"]}}, ValueError, "rank: found 'a'"),
        ({"params": {"rank": [8.5]}}, ValueError, "rank: found 8.5"),
        ({"params": {"rank": [True]}}, ValueError, "rank: found True"),
        ({"params": {"low_rank": Int(0, 5)}}, ValueError, "low_rank: found 0"),
        ({"params": {"rank": Float(1, 5)}}, ValueError, r"rank: found Float\(1.0, 5.0\)"),
        ({"params": {"rank": [4], "low_rank": [4]}}, ValueError, "rank: found together with num_terms or low_rank"),
    ],
)
def test_bad_request_is_refused_before_anything_runs(options: dict[str, Any], error: type[Exception], words: str) -> None:
    def never(model: nn.Module) -> float:
        raise AssertionError("nothing is to be evaluated")

    with pytest.raises(error, match=words), warnings.catch_warnings():
        tuner(**{"accuracy_eval_func": never, **options})


@pytest.mark.parametrize(
    ("params", "words"),
    [
        ({"num_random_features": [8], "kernel_fn": ["gelu"]}, "kernel_fn: found 'gelu', allowed: softmax relu"),
        ({"num_random_features": [0]}, "num_random_features: found 0"),
        ({"kernel_fn": ["relu"]}, "num_random_features: missing"),
    ],
)
def test_bad_setting_of_attention_is_refused_where_it_is_written(params: dict[str, Any], words: str) -> None:
    model = nn.TransformerEncoderLayer(16, 2, batch_first=True)

    with pytest.raises(ValueError, match=words):
        SKAutoTuner(model, [LayerConfig(["self_attn"], params)], accuracy_on("search"))


def test_layer_with_a_forward_of_its_own_stays_dense_and_is_told() -> None:
    class Doubled(nn.Linear):
        def forward(self, rows: torch.Tensor) -> torch.Tensor:
            return 2 * super().forward(rows)

    model = trained()
    model[2] = Doubled(96, 96)

    with pytest.warns(UserWarning, match="2 stays dense: Doubled has a forward of its own"):
        made = tuner(model)
    assert list(made.get_best_params()) == ["0"]


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"n_trials": 0}, "n_trials: found 0"),
        ({"n_trials": True}, "n_trials: found True"),
        ({"seed": -1}, "seed: found -1, allowed: a whole number from 0"),
        ({"study_name": ""}, "study_name: found ''"),
        ({"storage": 3}, "storage: found 3, allowed: a URL"),
    ],
)
def test_search_that_makes_no_sense_is_refused_where_it_is_written(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        OptunaSearch(**options)


def test_direction_that_the_tuner_would_not_follow_is_no_option() -> None:
    with pytest.raises(TypeError, match="direction"):
        OptunaSearch(direction="minimize")  # type: ignore[call-arg]


def test_example_inputs_that_do_not_fit_are_told_before_anything_is_searched() -> None:
    made = tuner(example_inputs=torch.zeros(3, 7))

    with pytest.raises(RuntimeError, match="cannot be called with example_inputs: RuntimeError: mat1 and mat2"):
        made.tune()
    assert made.trials == []


def test_model_that_is_slower_as_a_whole_is_rolled_back() -> None:
    """Layer by layer it looks faster; the model takes a detour for layers that it does not know."""

    class Detour(nn.Sequential):
        def forward(self, images: torch.Tensor) -> torch.Tensor:
            if type(self[2]) is not nn.Linear:
                time.sleep(0.03)  # far above the noise of a busy machine
            return super().forward(images)

    model = Detour(*trained())
    made = tuner(
        model,
        layers=["2"],
        params={"rank": [4]},
        optimization_eval_func=None,
        accuracy_threshold=0.5,
        example_inputs=torch.zeros(2048, 64),
    )
    made.tune()

    assert [trial.status for trial in made.trials] == [TrialStatus.PASSED]
    assert made.verification is not None
    assert "the whole is slower than dense" in made.verification.rolled_back["2"]
    assert same_weights(made.apply_best_params(), model)


def test_layer_of_two_configs_is_refused() -> None:
    configs = [LayerConfig(["0"], RANKS), LayerConfig({"type": "Linear"}, RANKS)]

    with pytest.raises(ValueError, match=r'config 2: layer "0".* is selected by config 1 too'):
        SKAutoTuner(trained(), configs, accuracy_on("search"))


def test_results_come_back_from_files_without_a_pickle(tmp_path: Any) -> None:
    model = trained()
    made = tuner(model, holdout_eval_func=accuracy_on("held"))
    made.tune()
    made.save_tuning_results(str(tmp_path / "best_config.pkl"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["best_config.json", "best_config.safetensors"]

    again = tuner(model)
    assert again.load_tuning_results(str(tmp_path / "best_config.pkl")) == made.get_best_params()
    assert same_weights(again.apply_best_params(), made.apply_best_params())
    assert again.get_results_dataframe().equals(made.get_results_dataframe())
    assert again.summary() == made.summary()


def test_saved_layers_go_into_a_model_without_a_tuner(tmp_path: Any) -> None:
    made = tuner()
    made.tune()
    made.save_tuning_results(tmp_path / "best")

    assert same_weights(apply_saved(trained(), tmp_path / "best"), made.apply_best_params())


def test_names_of_files_and_layers_are_kept_whole(tmp_path: Any) -> None:
    model = nn.Sequential()
    for name, width in (("a", 64), ("a/b", 64), ("a/b/", 10)):
        model.add_module(name, nn.Linear(64, width))
    config = LayerConfig({"type": "Linear"}, {"rank": [2]})
    made = SKAutoTuner(model, [config], lambda m: 1.0 + 0 * accuracy_on("search")(m), 0.5, smallness)
    made.tune()
    made.save_tuning_results(tmp_path / "run.v1")

    assert sorted(path.name for path in tmp_path.iterdir()) == ["run.v1.json", "run.v1.safetensors"]
    assert same_weights(apply_saved(copy.deepcopy(model), tmp_path / "run.v1"), made.apply_best_params())


@pytest.mark.parametrize("text", ["{", "[]", '{"schema": 1}', '{"schema": 1, "best": 3, "model": ""}'])
def test_foreign_file_is_refused_in_words(text: str, tmp_path: Any) -> None:
    (tmp_path / "bad.json").write_text(text)

    with pytest.raises(ValueError, match=r"bad\.json: not"):
        tuner().load_tuning_results(tmp_path / "bad")


def test_files_of_another_model_are_refused(tmp_path: Any) -> None:
    made = tuner()
    made.tune()
    made.save_tuning_results(tmp_path / "best")
    other = trained()
    with torch.no_grad():
        other[0].weight[0, 0] += 1

    with pytest.raises(ValueError, match="of another model"):
        tuner(other).load_tuning_results(tmp_path / "best")
    (tmp_path / "best.safetensors").write_bytes(b"torn")
    with pytest.raises(ValueError, match="not a whole safetensors file"):
        made.load_tuning_results(tmp_path / "best")

import math

import pytest

from ksweep.space.objective import Objectives, check_objectives, parse_constraints, parse_objectives
from ksweep.space.values import ValueProblem

METRICS = {"val_acc": 0.9, "val_ppl": 20, "layers_mean": 2.5, "zero": 0.0, "huge": 1e308, "nan": math.nan, "none": None}


def goal_of(text: str, direction: str = "maximize"):
    (goal,) = parse_objectives(text, direction).goals
    return goal


@pytest.mark.parametrize(
    ("text", "direction", "goals"),
    [
        ("val_acc", "maximize", [("val_acc", True)]),
        ("val_loss", "minimize", [("val_loss", False)]),
        ("val_acc:max", "minimize", [("val_acc", True)]),
        ("val_loss : min", "maximize", [("val_loss", False)]),
        ("val_acc:max, train_time_s:min", "maximize", [("val_acc", True), ("train_time_s", False)]),
        ("min(a, b), c:min", "maximize", [("min(a, b)", True), ("c", False)]),
        ('"eval/acc":max', "minimize", [("eval/acc", True)]),
        ("", "maximize", []),
    ],
    ids=["plain", "direction", "own direction", "blanks", "several", "comma in a call", "quoted", "none"],
)
def test_goals_and_their_directions(text, direction, goals):
    assert [(goal.text, goal.is_maximized) for goal in parse_objectives(text, direction).goals] == goals


def test_metrics_of_a_goal_are_named_once_in_order():
    goal = goal_of("b + max(a, b) * 'eval/loss' - exp(a)")

    assert goal.names == ("b", "a", "eval/loss")
    assert not goal.is_plain
    assert goal_of("b").is_plain


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("val_acc", 0.9),
        ("val_ppl + 10*layers_mean", 45.0),
        ("-val_ppl ** 2", -400.0),
        ("val_ppl // 3 + val_ppl % 3", 8.0),
        ("(val_ppl - 2) / 4", 4.5),
        ("min(val_ppl, 3, layers_mean) + max(1, 2)", 4.5),
        ("abs(-2 * layers_mean) + sqrt(16) + log(exp(1))", 10.0),
    ],
)
def test_value_is_that_of_the_arithmetic(text, value):
    assert goal_of(text).value(METRICS) == pytest.approx(value, rel=1e-15)


@pytest.mark.parametrize(
    "text",
    [
        "missing",
        "val_acc + missing",
        "nan",
        "none",
        "min(val_acc, nan)",
        "val_acc / zero",
        "val_acc // zero",
        "val_acc % zero",
        "zero ** -1",
        "(-val_acc) ** 0.5",
        "sqrt(-val_acc)",
        "log(zero)",
        "exp(val_ppl ** 3)",
        "1 / (huge * 10)",
        "10 ** 10 ** 10 * zero",
        "val_ppl ** 99999999",
        "text",
        "flag",
        "long",
    ],
)
def test_what_cannot_be_computed_is_none_and_never_an_exception(text):
    metrics = METRICS | {"text": "0.5", "flag": True, "long": 10**400}

    assert goal_of(text).value(metrics) is None


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ('__import__("os").system("ls")', "what is called is no function here"),
        ("open(val_acc)", "open is no function here"),
        ("val_acc.__class__", "Attribute is not allowed"),
        ("(lambda: val_acc)", "Lambda is not allowed"),
        ("[x for x in val_acc]", "ListComp is not allowed"),
        ("val_acc if zero else one", "IfExp is not allowed"),
        ("(x := 3)", "NamedExpr is not allowed"),
        ("max(*val_acc, 2)", "Starred is not allowed"),
        ("max(val_acc, key=abs)", "max is no function here"),
        ("max(val_acc)", "max takes two values or more"),
        ("log(val_acc, 2)", "log takes one value"),
        ("val_acc >= 0.5", "Compare is not allowed"),
        ("val_acc and zero", "BoolOp is not allowed"),
        ("val_acc @ zero", "MatMult is not allowed"),
        ('f"{val_acc}"', "JoinedStr is not allowed"),
        ("True * val_acc", "True is not allowed"),
        ("2j * val_acc", "2j is not allowed"),
        ("1e999 * val_acc", "inf is not allowed"),
        ("9" * 400 + " * val_acc", "is not allowed"),
        ("9" * 5000 + " * val_acc", "not an expression"),
        ("-" * 101 + "val_acc", "nested deeper than 100 levels"),
        ("-" * 100_000 + "val_acc", "not an expression"),
        ("3 + 4", "no metric is in it"),
        ("val_acc val_loss", "not an expression"),
        ("val_acc,", "nothing stands before or behind a comma"),
        ("val_acc:up", 'is no direction; write val_acc:max or val_acc:min'),
        ("val_acc:max:min", "is no direction"),
        ("val_acc:max, val_acc:min", "val_acc stands in it twice"),
        ('"val_acc', "a quote is not closed"),
    ],
    ids=lambda text: text[:24],
)  # fmt: skip
def test_anything_but_arithmetic_over_metrics_is_refused(text, found):
    with pytest.raises(ValueProblem) as problem:
        parse_objectives(text, "maximize")

    assert str(problem.value).startswith("CONFIG_SWEEP_OBJECTIVE: found ")
    assert found in str(problem.value)
    assert len(str(problem.value)) < 600


@pytest.mark.parametrize(
    ("text", "violation"),
    [
        ("val_acc >= 0.95", 0.05),
        ("val_acc >= 0.9", 0.0),
        ("val_ppl <= 15", 5.0),
        ("val_ppl <= 10 * layers_mean", -5.0),
        ("0.95 <= val_acc", 0.05),
        ("10 <= val_ppl <= 18", 2.0),
        ("25 < val_ppl < 30", 5.0),
        ("val_ppl == 21", 1.0),
        ("val_ppl == 20", 0.0),
        ("val_acc >= missing", None),
        ("nan <= 2", None),
    ],
)
def test_violation_is_the_amount_that_is_broken(text, violation):
    (constraint,) = parse_constraints(text)

    assert constraint.violation(METRICS) == (violation if violation is None else pytest.approx(violation, abs=1e-12))


@pytest.mark.parametrize(("text", "holds"), [("val_ppl < 20", False), ("val_ppl > 20", False), ("val_ppl <= 20", True)])
def test_equality_breaks_a_strict_comparison_only(text, holds):
    (constraint,) = parse_constraints(text)

    assert (constraint.violation(METRICS) <= 0) == holds


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("val_acc", "allowed: an expression, <= < >= > or =="),
        ("val_acc != 1", "its comparison is not allowed"),
        ("val_acc in (1, 2)", "its comparison is not allowed"),
        ("1 < 2", "it would hold for all runs or none"),
        ("val_acc >= open(1)", "open is no function here"),
        ("val_acc >=", "not an expression"),
    ],
)
def test_a_constraint_is_a_comparison_over_metrics(text, found):
    with pytest.raises(ValueProblem, match=found.replace("(", r"\(")):
        parse_constraints(text)


def test_constraints_without_an_objective_are_refused():
    with pytest.raises(ValueProblem, match="without an objective"):
        parse_objectives("", "maximize", "val_acc >= 0.9")


def test_values_and_violations_are_all_or_nothing():
    objectives = parse_objectives("val_acc, val_ppl:min", "maximize", "val_ppl <= 15, missing <= 1")

    assert objectives.values(METRICS) == (0.9, 20.0)
    assert objectives.values({"val_acc": 0.9}) == ()
    assert objectives.violations(METRICS) == ()
    assert objectives.violations(METRICS | {"missing": 3}) == (5.0, 2.0)
    assert Objectives().values(METRICS) == ()


@pytest.mark.parametrize(
    ("constraints", "feasible"),
    [("", True), ("val_ppl <= 20", True), ("val_ppl <= 20, val_acc >= 0.95", False), ("val_ppl <= 20, missing <= 1", False)],
    ids=["none", "kept", "one broken", "one unknown"],
)
def test_feasible_is_what_is_known_to_keep_to_all_constraints(constraints, feasible):
    assert parse_objectives("val_acc", "maximize", constraints).is_feasible(METRICS) == feasible


def test_metrics_that_no_model_reports_are_answered_with_those_that_exist():
    objectives = parse_objectives("val_ac + val_loss", "maximize", "pruning_mb <= 2")

    problems = check_objectives(objectives, {"val_acc", "val_loss", "pruning_mib"})

    assert problems == [
        'CONFIG_SWEEP_OBJECTIVE: found val_ac in "val_ac + val_loss", which the model does not report. Did you mean val_acc? '
        "It reports: pruning_mib, val_acc, val_loss",
        'CONFIG_SWEEP_CONSTRAINTS: found pruning_mb in "pruning_mb <= 2", which the model does not report. Did you mean '
        "pruning_mib? It reports: pruning_mib, val_acc, val_loss",
    ]
    assert check_objectives(objectives, None) == []
    assert check_objectives(parse_objectives("val_acc", "maximize"), {"val_acc"}) == []

"""Value expressions, to the exact text."""

import pytest

from ksweep.space.values import Sampled, ValueProblem, parse_tuples, parse_values


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("0.7", "0.7"),
        ("a | b|c", "a b c"),
        ("y|n", "y n"),
        ("0.0001:0.0001:0.0005", "0.0001 0.0002 0.0003 0.0004 0.0005"),
        ("0.9:0.1:1.3", "0.9 1.0 1.1 1.2 1.3"),
        ("1000:-100:800", "1000 900 800"),
        ("0.03:0.02:0.09", "0.03 0.05 0.07 0.09"),
        ("0.9:0.005:0.92", "0.900 0.905 0.910 0.915 0.920"),
        ("1e-4:1e-4:3e-4", "0.0001 0.0002 0.0003"),
        ("1e-8:1e-8:3e-8", "1e-8 2e-8 3e-8"),
        ("1:2:6", "1 3 5"),
        ("5:1:5", "5"),
        ("-2:1:0", "-2 -1 0"),
        ("1:1:3|9", "1 2 3 9"),
        ("log(1e-4, 1e-1, 4)", "0.0001 0.001 0.01 0.1"),
        ("log(16, 256, 5)", "16 32 64 128 256"),
        ("log(1e-5, 1e-3, 5)", "0.00001 0.0000316228 0.0001 0.000316228 0.001"),
        ('"a|b"', "a|b"),
        ('"12:30:45"', "12:30:45"),
        (r'"say \"yes\""|no', 'say·"yes" no'),
        ("adam:w", "adam:w"),
    ],
    ids=lambda text: text,
)
def test_expression_means_these_texts(text: str, values: str) -> None:
    expected = [value.replace("·", " ") for value in values.split(" ")]

    assert parse_values(text) == expected


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("a|", "a choice is empty"),
        ("|a", "a choice is empty"),
        ("", "no value was found"),
        ("1:0:5", "the step is 0"),
        ("5:1:1", "5:-1:1"),
        ("1:-1:5", "1:1:5"),
        ("1:2", "start:step:end"),
        ("1:2:3:4", "start:step:end"),
        ("0:1e-9:1", "1,000,000,001 values"),
        ('"a', "a quote is not closed"),
        ('"a"b', "follows a closing quote"),
        ('a"b"', "quote the whole value"),
        ("(1, 2", "a parenthesis is not matched"),
        ("log(0, 1, 3)", "lo above 0"),
        ("log(1, 10, 1)", "from 2"),
        ("log(1, 10, 2.5)", "whole number"),
        ("log(10, 1, 3)", "lo is not below hi"),
        ("log(1, 10)", "log(lo, hi, n)"),
        ("uniform(a, b)", "uniform(lo, hi) with numbers"),
        ("int(0.5, 3)", "whole numbers"),
        ("int(1, 9, 0)", "the step must be above 0"),
        ("normal(0, 1)", "uniform(...)"),
        ("1|uniform(0, 1)", "one form"),
        ("1:nan:3", None),
    ],
    ids=lambda text: str(text),
)
def test_wrong_expression_is_refused_in_words(text: str, words: str | None) -> None:
    if words is None:  # not three numbers: plain text, which the symbol's type then refuses
        assert parse_values(text) == [text]
        return

    with pytest.raises(ValueProblem) as problem:
        parse_values(text)

    assert words in str(problem.value)


@pytest.mark.parametrize("text", ["uniform(0, 1)", "loguniform(0.0001, 0.1)", "int(1, 9, 2)", "logint(8, 512)"])
def test_sampled_form_survives_its_own_text(text: str) -> None:
    sampled = parse_values(text)

    assert isinstance(sampled, Sampled)
    assert str(sampled) == text


def test_paired_values_stay_together() -> None:
    assert parse_tuples('(1, 2)|( "a, b" ,4)', 2) == [("1", "2"), ("a, b", "4")]


@pytest.mark.parametrize("text", ["(1, 2)|(3)", "(1, 2)|3", "1|2", "(1, )"])
def test_tuple_of_another_width_is_refused(text: str) -> None:
    with pytest.raises(ValueProblem):
        parse_tuples(text, 2)

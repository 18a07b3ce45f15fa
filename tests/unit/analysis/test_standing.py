"""How a sweep stands: time left, who runs where, what a screen of a given size shows of it."""

import json
import os

import pytest

from ksweep.analysis.load import load_sweep
from ksweep.analysis.standing import Observer
from ksweep.analysis.status import screen, status_text
from ksweep.contract.outcome import Status


def reports(*epochs, pace=2.0):
    return tuple({"step": 10 * e, "epoch": e, "time_s": pace * e, "val_acc": e / 100} for e in epochs)


def running(maker, *, started_at, reported_at, slot=0, until=None, history=(), values=None):
    """A run that goes on, started and heard of at these times."""
    run = maker.add(values or {"X": str(len(maker.points))}, status=Status.RUNNING, history=history)
    env = {} if until is None else {"KSWEEP_UNTIL": str(until)}
    run.provenance.write_text(json.dumps({"slot": slot, "device": None, "attempt": 1, "env": env}))
    os.utime(run.provenance, (started_at, started_at))
    os.utime(run.metrics, (reported_at, reported_at))
    return run


def journal(dir, *events):
    dir.journal.write_text("".join(json.dumps(event) + "\n" for event in events))


def look(dir, now, living_runner):
    with living_runner(dir, started_at=0.0):
        return Observer().look(load_sweep(dir), now=now)


def test_time_left_is_known_before_any_run_has_ended(make_sweep, living_runner):
    maker = make_sweep()
    running(maker, started_at=1000.0, reported_at=1007.0, slot=1, history=reports(1, 2, 3))
    running(maker, started_at=1000.0, reported_at=1007.0, slot=0, history=reports(1, 2, 3))
    maker.add({"X": "8"}, status=Status.PLANNED)
    maker.add({"X": "9"}, status=Status.PLANNED)
    standing = look(maker.save(), 1008.0, living_runner)

    assert [active.slot for active in standing.active] == [0, 1]
    assert [active.left_s for active in standing.active] == [13.0, 13.0]  # 7 epochs of 2 s, one second of which has passed
    assert standing.time_left.seconds == pytest.approx(13 + 21)  # a run takes 8 s + 13 s; the two that wait run side by side
    assert standing.time_left.basis == "2 running runs"


def test_the_range_of_the_time_left_is_that_of_the_runs_to_come(make_sweep, living_runner):
    maker = make_sweep()
    for wall_s in (7.0, 10.0, 13.0):
        maker.add({"X": str(wall_s)}, val_acc=0.5, wall_s=wall_s)
    running(maker, started_at=1000.0, reported_at=1000.0)
    maker.add({"X": "9"}, status=Status.PLANNED)
    left = look(maker.save(), 1004.0, living_runner).time_left

    assert left.seconds == pytest.approx(6 + 10)
    assert left.high - left.seconds == pytest.approx(4.303 * 3 * (1 + 1 / 3) ** 0.5, rel=1e-3)  # t of 2 degrees, sd 3, one run
    assert left.low == pytest.approx(6.0)  # never less than what the run that goes on still needs


def test_a_swept_number_of_epochs_scales_the_time_left(make_sweep, living_runner):
    maker = make_sweep()
    maker.add({"NUM_EPOCHS": "2"}, val_acc=0.5, wall_s=4.0)
    running(maker, started_at=1000.0, reported_at=1000.0, values={"NUM_EPOCHS": "2"})
    maker.add({"NUM_EPOCHS": "20"}, status=Status.PLANNED)

    assert look(maker.save(), 1000.0, living_runner).time_left.seconds == pytest.approx(4 + 40)


def test_a_run_that_went_on_from_a_checkpoint_has_the_pace_of_its_present_attempt(make_sweep, living_runner):
    maker = make_sweep()
    again = tuple({"epoch": e, "time_s": 5.0 * (e - 3)} for e in (4, 5))
    running(maker, started_at=1000.0, reported_at=1010.0, history=(*reports(1, 2, 3), *again))
    standing = look(maker.save(), 1010.0, living_runner)

    assert standing.active[0].left_s == pytest.approx(5 * 5.0)


def test_a_run_under_a_rung_ends_there(make_sweep, living_runner):
    maker = make_sweep(strategy="asha", counts={"planned": 9, "epochs": 40})
    maker.add({"X": "1"}, status=Status.PRUNED, until=1, wall_s=2.0, history=reports(1), val_acc=0.1)
    running(maker, started_at=1000.0, reported_at=1004.0, until=3, history=reports(1, 2))
    standing = look(maker.save(), 1004.0, living_runner)

    assert standing.active[0].last_epoch == 3
    assert (standing.epochs, standing.epochs_planned, standing.waiting) == (3, 40, {1: 1})
    assert standing.time_left.is_least
    assert standing.time_left.seconds == pytest.approx((40 - 3) * 6.0 / 3)  # 3 epochs took 2 s and 4 s
    text = "".join(piece for line in screen(standing) for piece, _ in line)
    assert "epochs trained: 3 of at least 40; stopped at rungs: 1 at 1" in text
    assert "9 at most" in text


def test_a_search_without_rungs_counts_the_trials_to_come(make_sweep, living_runner):
    maker = make_sweep(strategy="tpe", counts={"planned": 4})
    maker.add({"X": "1"}, val_acc=0.5, wall_s=10.0, history=reports(1, 2))
    running(maker, started_at=1000.0, reported_at=1000.0)
    dir = maker.save()
    journal(dir, {"time": 1.0, "event": "sweep_started", "slots": 1})
    standing = look(dir, 1000.0, living_runner)

    assert standing.time_left.seconds == pytest.approx(30.0)  # the one that runs, and two that are not chosen yet
    assert standing.num_slots == 1


def test_the_newest_start_tells_the_slots_and_the_journal_who_ended_last(make_sweep, living_runner):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.5)
    maker.add({"X": "2"}, status=Status.FAILED, reason="exit code 1")
    running(maker, started_at=1000.0, reported_at=1000.0)
    dir = maker.save()
    journal(
        dir,
        {"time": 900.0, "event": "sweep_started", "slots": 7},
        {"time": 950.0, "event": "sweep_started", "slots": 3},
        {"time": 990.0, "event": "run_ended", "config": "config_001", "attempt": 1, "status": "passed", "reason": ""},
        {"time": 995.0, "event": "run_ended", "config": "config_002", "attempt": 1, "status": "failed", "reason": "exit code 1"},
        {"time": 999.0, "event": "run_ended", "config": "config_gone", "attempt": 1, "status": "passed", "reason": ""},
    )
    with dir.journal.open("a") as file:
        file.write('{"time": 999.5, "event": "run_ended", "conf')
    standing = look(dir, 1000.0, living_runner)

    assert standing.num_slots == 3
    assert [ended.run.config for ended in standing.ended] == ["config_002", "config_001"]
    text = "\n".join("".join(piece for piece, _ in line) for line in screen(standing))
    assert "1 running, 2 slots idle" in text
    assert "5.0 s ago  config_002  failed        -  10 s  X=2" in text


@pytest.mark.parametrize("size", [(80, 24), (40, 10), (20, 3), (1, 1), (200, 60)])
@pytest.mark.parametrize("num_bad", [0, 30])
def test_a_screen_fits_whatever_size_it_has(make_sweep, living_runner, size, num_bad):
    width, height = size
    maker = make_sweep()
    for n in range(20):
        running(maker, started_at=1000.0, reported_at=1001.0, slot=n, history=reports(1), values={"A_LONG_SYMBOL": "v" * 90})
    for n in range(num_bad):
        maker.add({"X": str(n)}, status=Status.OOM, reason="out of memory " * 9)
    maker.add({"X": "last"}, val_acc=0.5)
    standing = look(maker.save(), 1002.0, living_runner)
    lines = ["".join(piece for piece, _ in line) for line in screen(standing, width=width, height=height)]

    assert len(lines) <= height
    assert max(map(len, lines)) <= width or width < 4
    if size == (80, 24):
        text = "\n".join(lines)
        assert ("30 OF 51 RUNS FAILED" in lines[0]) == bool(num_bad)
        for wanted in ("about ", "config_001", "best so far", "20 running ("):
            assert wanted in text


def test_damaged_files_of_running_runs_are_no_traceback(make_sweep, living_runner):
    maker = make_sweep()
    for text in ("", "{", "[]", '{"slot": "x", "env": 3, "attempt": null}'):
        run = running(maker, started_at=1000.0, reported_at=1000.0, history=({"epoch": "x"}, {"epoch": None, "time_s": "1"}))
        run.provenance.write_text(text)
        run.metrics.write_text('[]\n{"epoch": 1e999}\n{"epoch": 2}\n{"epo')
        run.config.write_text("CONFIG_NUM_EPOCHS=many\n")
    gone = running(maker, started_at=1000.0, reported_at=1000.0)
    gone.config.unlink()
    gone.metrics.unlink()
    dir = maker.save()
    dir.journal.write_bytes(
        b'\xff\xfe\n{"event": "sweep_started", "slots": "x"}\n[]\n"run_ended"\n{"event": "run_ended", "config": []}\n'
    )

    with living_runner(dir):
        assert "5 running" in status_text(load_sweep(dir), now=1003.0)


@pytest.mark.parametrize(
    ("objective", "constraints", "status", "said"),
    [
        ("", "", Status.PASSED, "no objective"),
        ("val_acc", "", Status.FAILED, "no run passed with a value of val_acc"),
        ("val_acc", "val_acc >= 2", Status.PASSED, "no setting keeps to val_acc >= 2"),
    ],
)
def test_status_says_why_there_is_no_best(make_sweep, objective, constraints, status, said):
    maker = make_sweep(objective=objective, constraints=constraints)
    maker.add({"X": "1"}, status=status, val_acc=0.5)
    text = status_text(load_sweep(maker.save()))

    assert said in text
    assert "best so far" not in text


def test_status_of_a_sweep_without_points_is_no_traceback(make_sweep):
    assert "no run yet" in status_text(load_sweep(make_sweep(strategy="tpe").save()))


def test_a_ranking_is_made_again_only_when_a_run_has_ended(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.5)
    dir, observer = maker.save(), Observer()
    first, second = (observer.look(load_sweep(dir)).ranking for _ in range(2))
    maker.add({"X": "2"}, val_acc=0.6)
    maker.save()

    assert second is first
    assert [group.values["X"] for group in observer.look(load_sweep(dir)).ranking.ranked] == ["2", "1"]


def test_text_of_files_cannot_steer_the_terminal(make_sweep, living_runner):
    maker = make_sweep()
    maker.add({"X": "\x1b[31mred"}, status=Status.FAILED, reason="\x1b]0;title\x07 and\nmore")
    running(maker, started_at=1000.0, reported_at=1000.0, values={"X": "a\rb\x1b[2J"})
    dir = maker.save()
    journal(dir, {"time": 9.0, "event": "run_ended", "config": "config_001", "attempt": 1, "status": "\x1b[1m", "reason": ""})

    with living_runner(dir):
        text = status_text(load_sweep(dir), now=1003.0)

    assert all(letter.isprintable() or letter == "\n" for letter in text)

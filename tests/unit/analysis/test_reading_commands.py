import os
import pty
import subprocess
import sys
import threading
import time

import pytest

from ksweep.analysis.load import load_sweep
from ksweep.analysis.status import status_text
from ksweep.cli.main import main
from ksweep.contract.outcome import Status


@pytest.mark.parametrize("command", ["analyze", "leaderboard", "status", "summary", "watch"])
def test_without_a_sweep_each_command_says_what_to_do(tmp_path, capsys, command):
    code = main([command, "--results", str(tmp_path)])

    assert code == 2
    assert "run `make sweep` first" in capsys.readouterr().err


def test_leaderboard_shows_the_newest_sweep_of_a_root(two_settings, tmp_path, capsys):
    two_settings.save()

    assert main(["leaderboard", "--results", str(tmp_path), "--top", "1"]) == 0
    assert "config_004 (+2)" in capsys.readouterr().out


@pytest.mark.parametrize("top", ["0", "-1", "many"])
def test_leaderboard_refuses_a_top_that_is_none(tmp_path, capsys, top):
    with pytest.raises(SystemExit) as ended:
        main(["leaderboard", "--results", str(tmp_path), "--top", top])

    assert ended.value.code == 2
    assert "--top" in capsys.readouterr().err


def test_analyze_succeeds_when_runs_failed_and_says_so_first(make_sweep, capsys):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.9)
    maker.add({"X": "2"}, status=Status.OOM, reason="CUDA out of memory")
    dir = maker.save()

    assert main(["analyze", "--results", str(dir.path)]) == 0

    out = capsys.readouterr().out
    assert out.startswith("1 OF 2 RUNS FAILED")
    assert f"  {dir.plots / 'ranking.png'}\n" in out


def test_summary_prints_the_analysis_and_writes_nothing(two_settings, capsys):
    dir = two_settings.save()

    assert main(["summary", "--results", str(dir.path)]) == 0
    assert capsys.readouterr().out.startswith("Hyperparameter Sweep Analysis\n")
    assert not dir.analysis.exists()


def test_status_of_a_running_sweep(make_sweep, living_runner):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.9, wall_s=60.0)
    maker.add({"X": "2"}, status=Status.FAILED, reason="exit code 1", wall_s=60.0)
    run = maker.add({"X": "3"}, status=Status.RUNNING, history=({"step": 9, "epoch": 3, "time_s": 18.0, "val_acc": 0.75},))
    maker.add({"X": "4"}, status=Status.PLANNED)
    dir = maker.save()
    started_at = run.provenance.stat().st_mtime
    os.utime(run.metrics, (started_at + 20, started_at + 20))

    with living_runner(dir):
        text = status_text(load_sweep(dir), now=started_at + 30)

    assert text.splitlines()[:2] == ["1 OF 4 RUNS FAILED (1 failed)", "  config_002: failed: exit code 1"]
    assert "4 runs: 1 passed, 1 failed, 1 planned, 1 running" in text
    assert "runner alive: pid 4711 on node7" in text
    assert "config_003   3 of 10 [##......]   75.00%   30 s  32 s  X=3" in text  # 7 epochs of 6 s, of which 10 s have passed
    assert "about 1 min 33 s left (95%: 1 min 27 s to 1 min 38 s), till " in text  # 32 s of this run and 61 s of the planned one
    assert "by 2 ended and 1 running runs" in text
    assert "  1   90.00%  config_001  X=1" in text


def test_status_of_a_sweep_that_was_stopped(make_sweep):
    maker = make_sweep()
    maker.add({"X": "1"}, status=Status.PLANNED)

    text = status_text(load_sweep(maker.save()))

    assert "no runner is alive" in text
    assert "the same command continues it" in text
    assert "left" not in text


@pytest.mark.parametrize("command", ["status", "leaderboard"])
def test_reading_imports_nothing_slow(two_settings, command):
    dir = two_settings.save()
    code = (
        "import sys; from ksweep.cli.main import main; assert main(sys.argv[1:]) == 0;"
        "print(sorted({'pandas', 'numpy', 'matplotlib', 'torch', 'rich', 'optuna', 'kconfiglib'} & set(sys.modules)))"
    )

    done = subprocess.run(
        [sys.executable, "-c", code, command, "--results", str(dir.path)],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
        capture_output=True,
        text=True,
        check=True,
    )

    assert done.stdout.splitlines()[-1] == "[]"


def test_watch_prints_a_line_a_change_until_the_runner_ends(make_sweep, living_runner, capsys):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.9)
    dir = maker.save()
    owner = living_runner(dir)
    owner.__enter__()

    def sweep_on():
        time.sleep(0.4)
        maker.add({"X": "2"}, val_acc=0.95)
        maker.save()
        time.sleep(0.4)
        owner.__exit__(None, None, None)

    thread = threading.Thread(target=sweep_on)
    thread.start()
    code = main(["watch", "--results", str(dir.path), "--every", "0.1"])
    thread.join()

    lines = capsys.readouterr().out.splitlines()
    assert code == 0
    assert lines[:2] == [
        "1 of 1 run: 1 passed; best so far val_acc 90.00%",
        "2 of 2 runs: 2 passed; best so far val_acc 95.00%",
    ]
    assert lines[2] == "demo: 2 runs: 2 passed"
    assert "the same command continues" not in "\n".join(lines)


def test_watch_of_a_sweep_whose_runner_died_says_what_to_do(make_sweep, capsys):
    maker = make_sweep()
    maker.add({"X": "1"}, val_acc=0.9)
    maker.add({"X": "2"}, status=Status.PLANNED)

    assert main(["watch", "--results", str(maker.save().path)]) == 0
    assert "no runner is alive, and not all runs have ended; the same command continues" in capsys.readouterr().out


def test_watch_draws_the_screen_on_a_terminal(two_settings):
    dir = two_settings.save()
    ours, theirs = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", "import sys; from ksweep.cli.main import main; sys.exit(main())", "watch", "--results", dir.path],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "TERM": "xterm"},
        stdout=theirs,
        stdin=subprocess.DEVNULL,
    )
    os.close(theirs)
    seen = b""
    while True:
        try:
            data = os.read(ours, 4096)
        except OSError:  # EIO: the last writer is gone
            break
        seen += data
    os.close(ours)

    assert process.wait() == 0
    assert b"no runner is alive" in seen
    assert b"Ranked by val_acc" in seen

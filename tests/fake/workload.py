"""A trainer that does as its BEHAVIOUR says: passes, fails, hangs, is killed, ... Its metric is X / 1000 + epoch / 100."""

import os
import signal
import subprocess
import sys
import time

from ksweep.contract.run import Run


def main() -> int:
    """Train, after a fashion."""
    run = Run.open()
    config = run.config
    behaviour, x = config.str("BEHAVIOUR"), config.int("X")
    config.int("SEED")
    checkpoint = run.dir.path / "checkpoint.txt"
    first = int(checkpoint.read_text()) + 1 if checkpoint.exists() else 1
    print(f"{behaviour}: from epoch {first}", flush=True)
    if behaviour == "fail":
        raise RuntimeError("the fake failed on purpose")
    if behaviour == "fail-once" and run.attempt == 1:
        raise RuntimeError("the fake failed once on purpose")
    if behaviour == "refuse":
        print("CONFIG_X: refused on purpose", file=sys.stderr)
        return 2
    if behaviour == "oom":
        raise MemoryError
    if behaviour == "hang":
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        time.sleep(3600)
    if behaviour == "silent":
        return 0
    if behaviour == "orphan":  # leaves its group and session, and outlives its parent
        subprocess.Popen(["sleep", "3599"], start_new_session=True)
        subprocess.Popen(["sleep", "3598"])
    if run.why_stop(step=first - 1, epoch=first - 1):
        return 143
    value = x / 1000 + (first - 1) / 100
    for epoch in range(first, config.int("NUM_EPOCHS") + 1):
        time.sleep(config.int("EPOCH_MS") / 1000)
        value = float("nan") if behaviour == "nan" else x / 1000 + epoch / 100
        goes_on = run.report(step=epoch, epoch=epoch, val_acc=value)
        beside = checkpoint.with_suffix(".tmp")
        beside.write_text(str(epoch))
        beside.replace(checkpoint)
        if not goes_on:
            return 143
        if behaviour == "killed-once" and run.attempt == 1:
            os.kill(os.getpid(), signal.SIGKILL)
    run.finish(effective={"x": x, "devices": os.environ["CUDA_VISIBLE_DEVICES"]}, val_acc=value, test_acc=value - 0.01)
    return 0


if __name__ == "__main__":
    sys.exit(main())

"""Make the trackers of tests/fake/trackers.py installed ones: a folder for PYTHONPATH with their entry points."""

from pathlib import Path

from ksweep.track.registry import GROUP


def install(folder: Path, **points: str) -> Path:
    """`folder`, with trackers by these names: `install(path, mine="tests.fake.trackers:Records")`."""
    info = folder / "fake_trackers-1.0.dist-info"
    info.mkdir(parents=True)
    info.joinpath("METADATA").write_text("Metadata-Version: 2.1\nName: fake-trackers\nVersion: 1.0\n")
    info.joinpath("entry_points.txt").write_text(f"[{GROUP}]\n" + "".join(f"{n} = {p}\n" for n, p in points.items()))
    return folder

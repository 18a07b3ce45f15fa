"""A sweep directory -> an experiment tracker: what it shows is read from the run directories, and no run knows of it.

base.py        what a tracker is given, and what it has to do         registry.py   trackers by name, those of other packages too
export.py      the runs of a sweep, handed to one tracker, once each
companions.py  one process a tracker beside a running sweep: none can stop, delay or outlive it
tensorboard.py  mlflow.py  wandb.py  trackio.py   one tracker each; its packages are imported when it is used
"""

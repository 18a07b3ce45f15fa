"""The loop: a range file -> numbered configs -> runs -> results. Strangers to the analysis.

  range file --generate--> sweep_configs/ --store--> sweep directory --runner--> run directories with result.json

configs.py       write and read a directory of numbered configs
store.py         find, make and extend a sweep directory; who owns it
sweep.py         puts the parts below together for one sweep directory
runner.py        the loop: starts runs, watches them, ends them, records them
slots.py         places to run, reserved before a start
judge.py         evidence of one ended run -> its outcome
delivery.py      did every swept symbol arrive?
durations.py     what runs took: order of starts, ETA, estimates
device_stats.py  samples of a run's GPU
journal.py       append-only record of events
callbacks.py     commands and functions that are told of them
handover.py      checkpoints of a run for one that goes on from it
progress.py      what people see while it runs
"""

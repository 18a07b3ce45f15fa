"""The loop: a range file -> numbered configs -> runs -> results. Strangers to the analysis.

  range file --generate--> sweep_configs/ --store--> sweep directory --runner--> run directories with result.json

configs.py   write and read a directory of numbered configs      journal.py   append-only record of events
store.py     find, make and extend a sweep directory             slots.py     places to run, reserved before a start
judge.py     evidence of one run -> its outcome                  durations.py what runs took: order, ETA, estimates
delivery.py  did every swept symbol arrive?                      runner.py    starts, watches, ends, records
progress.py  what people see while it runs
"""

"""The trainer side: how every model is trained.

main.py       a model's entry: one call, messages and exit codes    loop.py      the loop that models plug into
seeding.py    everything that is drawn, and its state               device.py    where a run computes, and how wide
checkpoint.py what a killed run goes on from                        preload.py   the imports of all of this, for a warm launch
registry.py   plug-ins found by file                            torchvision_import.py  the one place that imports torchvision
early_stopping.py  when a run is over before its last epoch
"""

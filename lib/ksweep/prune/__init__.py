"""Pruning while training: the least important weights become zero, along a schedule, and stay zero.

schedule.py    how many, at which step; one schedule for all methods, so that what is compared is only what is chosen
magnitude.py movement.py state.py    what a weight is worth; a module with a NAME and
               `build(cfg, weights, optimizer) -> Importance` is a method, and a new file is found by its NAME
allocation.py  how many in each layer
select.py      which: the smallest, counted exactly
weights.py     the weights that may be pruned
pruner.py      the masks, and all of these at work; chosen by the configuration in build.py
"""

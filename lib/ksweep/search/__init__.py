"""Which points next, and which runs to stop. Pure: same space, same history, same seed, same answer, so resume is replay.

base.py       the interfaces: Sampler (where in the space), Strategy (what to run next), Pruner (which run to stop)
registry.py   strategies, samplers and pruners by name
samplers      grid.py  uniform.py (random, qmc)  cma.py  optuna_samplers.py (tpe, gp, nsga2; all that imports Optuna)
              drawing.py: what they share    lesson.py: what a model learns of an outcome
strategies    one_by_one.py (a sampler's points, each to its end)  halving.py  asha.py  hyperband.py  pbt.py
              history.py, rung_strategy.py: what they share    rungs.py: brackets and budgets, in whole numbers
pruners.py    median, percentile, asha, hyperband, patience, threshold
"""

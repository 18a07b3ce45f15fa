"""How one run is started, watched and ended. Judging how it went is not done here.

base.py   what a backend promises, and the registry      local.py      processes of this machine, by way of the launcher
strays.py     what a run left behind, found by its environment
launcher.py   the process that is the parent of all runs, warm or cold
"""

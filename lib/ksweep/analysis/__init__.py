"""Reading results: load, rank, write, draw. Never writes into a run directory; a stranger to the sweep package.

Read
  load          a sweep directory -> records, also while it runs
  index         what tables need of thousands of result.json files, kept beside them
  reports       the end of a metrics.jsonl: how far a run is

Find
  ranking       repeats grouped over seeds, intervals, ties; constraints; several goals by front
  pareto        non-dominated sorting, crowding, hypervolume, the knee of a front
  axes          the swept axes, and the level of each that a setting has
  effects       what each axis does to the goal: main effects, interactions
  importance    how much of the goal's variance each axis explains
  bias          why an effect is not to be read as it stands
  fidelity      whether a short run ranks the settings as the whole one does
  effort        how far runs got, epochs spent of those of a full sweep
  totals        counts, durations and cost of a whole sweep
  standing      who runs where, what is left and how long that takes
  findings      all of what is found, computed once
  compare       two runs of one configuration, to the last bit
  regression    two sweeps, run by run: what became worse
  refine        a range file around the best region
  final         the best setting anew, on seeds of its own
  strategies, strategies_plot   several strategies over one range file

Tell
  formats       numbers, durations, foreign text, tables
  text, effects_text            leaderboard, sweep_analysis.txt
  evidence      why a setting is the best, for the head of a configuration file
  status, live  how a sweep stands, in one screen; drawn again and again
  summary       sweep_summary.json and .csv, one flat item a point
  report, report_data, report_server    report.html, its tables and pictures, its live form
  plots         the pictures, a module each (matplotlib is imported there, when something is drawn)
  write         analyze(): all of these into the sweep directory
"""

"""Reading results: load, rank, write, draw. Never writes into a run directory; a stranger to the sweep package.

load      a sweep directory -> records, also while it runs
ranking   repeats grouped over seeds, intervals, ties
text      the ranking as text: leaderboard, sweep_analysis.txt
status    how a sweep stands: counts, running configs, time left
summary   sweep_summary.json and .csv, one flat item a point
plots     ranking.png and learning_curves.png (the only importer of matplotlib)
write     analyze(): all of these into the sweep directory
"""

"""Reading results: load, rank, write, draw. Never writes into a run directory; a stranger to the sweep package.

load          a sweep directory -> records, also while it runs
ranking       repeats grouped over seeds, intervals, ties; constraints; several goals by front
pareto        non-dominated sorting, crowding
effort        how far runs got, epochs spent of those of a full sweep
text          the ranking as text: leaderboard, sweep_analysis.txt
status        how a sweep stands: counts, running configs, time left
summary       sweep_summary.json and .csv, one flat item a point
plots         the pictures, a module each (matplotlib is imported there, when something is drawn)
write         analyze(): all of these into the sweep directory
"""

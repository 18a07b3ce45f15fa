"""The run contract: all that orchestrator and trainer share. Standard library only.

A run directory with `config.txt` in, metric lines and `training_metrics.json` out, an exit code.
A trainer needs one name from here, `Run`; any other program needs only the files (test_matrix_results/README.md).
"""

"""The command line: one module a subcommand. Its docstring is its help; `add_arguments(parser)` and `run(args) -> exit code`."""

"""One file per data set: NAME and `read(cfg) -> Arrays`; REMOTE as well when the set lies in a data directory."""

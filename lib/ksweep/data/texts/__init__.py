"""One file per data set of a language model: NAME and `read(cfg) -> Text | Rows`; REMOTE as well when a package ships it."""

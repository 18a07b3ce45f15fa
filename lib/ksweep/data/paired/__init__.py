"""One file per set of embedded images and captions: NAME and `read(cfg) -> Pairs`."""

"""Data sets as tensors in memory, each with one fixed split into train, validation and test.

sets/      one file per data set; a new one is found by its NAME      dataset.py  sizes, splits and normalises what a set reads
loader.py  batches in a seeded order                                  remote.py   sets that lie in a data directory
fetch.py   from package registries, for machines that reach only those
"""

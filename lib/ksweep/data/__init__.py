"""Data sets as tensors in memory, each with one fixed split into train, validation and test.

sets/      one file per set of images; a new one is found by its NAME      texts/     the same for language models
dataset.py sizes, splits and normalises the images that a set reads        images.py  augments them, batch by batch
text.py    cuts what a text reads into rows      text_encoding.py  words and characters as numbers      tokens.py  digits as rows
loader.py  batches in a seeded order             remote.py, remote_text.py  sets that lie in a data directory
fetch.py   from package registries, for machines that reach only those
"""

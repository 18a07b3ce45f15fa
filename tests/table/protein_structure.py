"""Imported once by a warm launcher: reads the table, which the runs that are forked from it then have."""

from tests.table.tables import preload

preload("protein_structure")

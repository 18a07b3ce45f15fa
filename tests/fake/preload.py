"""Imported once by a warm launcher."""

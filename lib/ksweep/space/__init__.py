"""The range language, pure: text -> axes, requirements, values as exact decimal text. Written down in defconfigs/README.md.

values.py     one value expression -> its values      rangefile.py  a file -> assignments and requirements
yamlspace.py  a search space in YAML -> a range file
require.py    `require` expressions, evaluated safely  grid.py       the points of a grid, and a space-filling order of them
"""

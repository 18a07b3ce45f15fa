"""The Kconfig layer, the only importer of kconfiglib.

tree.py       load a tree, strictly            resolve.py   requested values -> complete configurations, or why not
explain.py    which dependency failed          presets.py   defconfigs/, found by name
functions.py  what the tree's macros declare   rules.py     what must hold between symbols
targets.py    the back ends of make menuconfig and its family
answers.py    walks the questions of a tree    editors.py   menuconfig and guiconfig, with our checks in their dialogs
"""

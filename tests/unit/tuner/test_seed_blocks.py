"""Code blocks are taken out of a text as they are printed."""

import ast

from tests.unit.tuner.seed_blocks import python_blocks, seed_text

TEXT = """\
Title
=====

.. code-block:: python

   import torch

   def double(x):
       # a blank line follows, of spaces
       \n       return 2 * x

   .. not a directive, since it stands in the block

Words, and a block of another language:

.. code-block:: bash

   make sweep

- in a list:

  .. code-block:: python
     :linenos:
     :caption: two options

     print("indented")

  still in the list

.. code-block:: python

   x = 1
.. code-block:: python

   y = '''
   kept
     as it is
   '''"""


def test_blocks_come_in_order_and_without_their_indent() -> None:
    blocks = python_blocks(TEXT)

    assert blocks == [
        "import torch\n\ndef double(x):\n    # a blank line follows, of spaces\n\n    return 2 * x\n\n"
        ".. not a directive, since it stands in the block\n",
        'print("indented")\n',
        "x = 1\n",
        "y = '''\nkept\n  as it is\n'''\n",
    ]


def test_a_text_without_blocks_has_none() -> None:
    assert python_blocks("Words.\n\n.. code-block:: bash\n\n   ls\n") == []
    assert python_blocks("") == []


def test_each_block_of_the_seed_is_python() -> None:
    blocks = python_blocks(seed_text() or TEXT.replace(".. not a directive", "# not a directive"))

    assert blocks
    for block in blocks:
        ast.parse(block)

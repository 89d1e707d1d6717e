"""Bench: models x boards, measured, compared with earlier figures, and shown beside those of other engines.

measure.py   a model on a board -> Figures; every output byte is compared with the reference on the way
figures.py   Figures and their file
compare.py   what grew, what shrank, and whether that is too much
marks.py     instructions and cycles that a layer should not exceed, and a sentence on each that does
recorded.py  what TensorFlow Lite Micro with CMSIS-NN took for the same files
text.py      all of it as tables, for a terminal or as Markdown
command.py   `tinycompiler bench`
"""

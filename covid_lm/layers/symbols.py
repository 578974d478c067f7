"""Symbols: the elements of a sequence before the vocabulary is applied.

A symbol is an integer for a channel value, a byte of the file name or a special token, so that
concatenation and trim need neither strings nor a vocabulary.

```
0 .. 255     a channel value, red, green, blue or luminance
256 .. 511   a byte of the file name, plus 256
512 .. 515   [PAD] [CLS] [SEP] [MASK]
```
"""

NAME_OFFSET = 256
PAD, CLS, SEP, MASK = range(512, 516)
NUM_SYMBOLS = 516

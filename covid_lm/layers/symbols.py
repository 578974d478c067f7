"""The alphabet of a sequence before it meets a vocabulary.

A symbol is an integer that says what stands at a position (a channel value, a byte of the file
name, a special token), so that concatenation and trim need no strings and no vocabulary.

```
0 .. 255     a channel value, red, green, blue or luminance
256 .. 511   a byte of the file name, plus 256
512 .. 515   [PAD] [CLS] [SEP] [MASK]
```
"""

NAME_OFFSET = 256
PAD, CLS, SEP, MASK = range(512, 516)
NUM_SYMBOLS = 516

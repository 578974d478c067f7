"""covid_lm: an image classifier that reads an image's bytes as a sentence.

Importing the package is cheap: TensorFlow is imported by the modules that need it.
"""

__version__ = "0.1.0"

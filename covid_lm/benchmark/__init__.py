"""Comparisons of speed and memory with other libraries. Importing it does not import TensorFlow."""

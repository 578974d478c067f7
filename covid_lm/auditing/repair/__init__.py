"""Repairs: new splits and a neutral copy of a data set, and the audit of the result."""

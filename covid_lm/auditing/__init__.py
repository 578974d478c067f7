"""Audit: checks a data set, and a model, for ways to predict the label without the image content.

`audit_dataset(dataset)` returns an `AuditReport`. Only `auditing.model`
and the observation of a file that can't be read import TensorFlow.
"""

"""What could tell the label besides the picture: checks on a data set, and on a model.

    audit_dataset(dataset) -> AuditReport: findings by severity, probes, splits, duplicates

Reads files with Pillow and never imports TensorFlow; only `model_checks` does.
"""

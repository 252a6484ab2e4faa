"""The access layer: a rule's `access` block enforced before its origin is asked."""

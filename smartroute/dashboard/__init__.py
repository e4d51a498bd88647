"""Show what was measured. The modules here render records and compute none of the figures."""

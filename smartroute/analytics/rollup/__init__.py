"""Keep sums of a log, beside its files or in its database, so that queries need not read the log."""

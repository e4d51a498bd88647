"""Keep a rollup of a log up to date, beside its files or in its database, and answer queries from it."""

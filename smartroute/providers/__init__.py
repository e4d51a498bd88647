"""Providers: ways to call a model. None is imported until it is used."""

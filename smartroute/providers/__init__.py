"""Make the calls. Each module here is one way to reach a model; none is imported until it is used."""

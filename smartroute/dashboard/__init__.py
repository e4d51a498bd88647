"""How reports and routed requests look on a terminal and in files. Computes no figure."""

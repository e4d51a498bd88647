"""The demo: bundled tasks, run through a router and through each single model."""

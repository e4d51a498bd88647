"""Measure a router: replay what was recorded, run the demo, check answers. Import what you need from its modules."""

"""Measure a router: replay what was recorded, run the demo, check answers. Import from its modules."""

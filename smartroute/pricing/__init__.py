"""Prices and what a call costs: rates, price tables, and charges beyond the plain rates."""

from smartroute.pricing.price import LongContext, Price
from smartroute.pricing.table import PriceTable, canonical_name

__all__ = ["LongContext", "Price", "PriceTable", "canonical_name"]

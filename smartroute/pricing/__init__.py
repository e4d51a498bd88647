"""Turn token usage into dollars: prices, price tables, and what is charged beyond the plain rates."""

from smartroute.pricing.price import LongContext, Price, PriceTable, canonical_name

__all__ = ["LongContext", "Price", "PriceTable", "canonical_name"]

"""On the path by this file: the tests in the folders below import `oracle` and `test_figures`."""

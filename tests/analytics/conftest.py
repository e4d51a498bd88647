"""Having this file here puts the folder on the path: the tests below it import `oracle` and `test_figures`."""

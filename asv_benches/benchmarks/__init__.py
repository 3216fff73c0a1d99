"""Benchmarks of streamnorm, one file per area, with its peers beside it.

``data`` makes the input files, ``peers`` holds the table of implementations by name (``jobs`` what they are
asked to do), ``arrays`` the same for values in memory, ``norm_peers`` for norm layers.
``STREAMNORM_BENCH_ROWS`` sets the size of all data (10,000,000 rows unless told).
"""

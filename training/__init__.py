"""Makes `model/`: the data, the network, its calibration, its export and its evaluation.

Imports `miles/` (so that features are computed by the code that serves them), never the reverse.
Run it as `python -m training --data FOLDER`; the order of events is in `__main__.py`.
"""

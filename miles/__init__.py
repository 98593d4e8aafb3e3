"""Miles: collect short videos, score their potential, and see what is taking off.

Knows nothing about Streamlit; `Home.py` and `pages/` show what this package computes.
"""

__version__ = "0.1.0"

"""The Streamlit code that pages share: frame, cached reads, cards, charts, filters, words."""

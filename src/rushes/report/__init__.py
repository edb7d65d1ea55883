"""The run as a page: plain rows in, one self-contained HTML file out."""

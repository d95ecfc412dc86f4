"""Figures, tables and the page; reads the run directory only."""

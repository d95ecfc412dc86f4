"""The paper's tables and figures, on one of its devices."""

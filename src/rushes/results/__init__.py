from rushes.results.results import Results
from rushes.results.runs import alive

__all__ = ["Results", "alive"]

"""The work of each step as callables over Arrow batches, for pipelines that are not `rushes run`: Daft, Ray Data, or your own.

    scan = Scan(Recipe())
    table = scan(pa.table({"uri": ["/footage/a.mp4", "s3://bucket/b.mp4"]}))   # the same rows, and the column `scan`

An operator has no store and resumes nothing. docs/operators.md shows how to use each, and when to use `rushes run` instead.
"""

from rushes.operators.caption import Caption
from rushes.operators.cut import CutClips
from rushes.operators.operator import Operator
from rushes.operators.scan import Scan
from rushes.operators.score import Score

__all__ = ["Caption", "CutClips", "Operator", "Scan", "Score"]

"""What unit tests share with the others stands in `tests/support`."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1]))

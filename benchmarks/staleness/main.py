"""The bench of staleness, as `akkordeon bench staleness` runs it; the results go into this folder.

python benchmarks/staleness/main.py                          # an hour or two
python benchmarks/staleness/main.py --quick --out /tmp/x     # ten minutes
"""

import sys
from pathlib import Path

from akkordeon.cli.app import main

if __name__ == "__main__":
    sys.argv[1:] = ["bench", "staleness", "--out", str(Path(__file__).parent), *sys.argv[1:]]
    main()

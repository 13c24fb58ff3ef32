"""`python -m couchlet`."""

import sys

from couchlet.cli import main

sys.exit(main())

"""`python -m pg_agents`: the command `pgtoy`."""

import sys

from pg_agents.cli.main import main

if __name__ == "__main__":
    sys.exit(main())

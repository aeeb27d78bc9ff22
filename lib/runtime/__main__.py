"""Run a command with caches that can be written: `python -m lib.runtime jupyter lab`."""

import os
import sys

if __name__ == "__main__":
    os.execvp(sys.argv[1], sys.argv[1:])  # importing the package has set the variables

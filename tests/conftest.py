"""What all tests need: no network."""

import os

# Also in the processes that tests start; what wants weights says so at once.
os.environ["PNAG_OFFLINE"] = "1"

"""`python -m trine.cli` is `trine`."""

from trine.cli import main

main(prog_name="trine")

"""``python -m compress`` is the command line, too."""

from compress.cli import main

main()

"""``python -m streamnorm`` is the command ``streamnorm``."""

from .cli import main

if __name__ == "__main__":
    main()

"""`python -m bot` is `fireside`."""

from bot.cli import main

if __name__ == "__main__":
    main()

"""`python -m segkit`."""

from segkit.cli.main import run

if __name__ == "__main__":
    run()

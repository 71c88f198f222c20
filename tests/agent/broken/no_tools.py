def lookup() -> None:
    pass

def connect():
    raise ConnectionError("no database\nsecond line")


connect()

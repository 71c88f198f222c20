def agent():
    return "not one"

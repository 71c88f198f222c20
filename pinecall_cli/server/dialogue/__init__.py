"""One session's conversation, spoken or written: history, prompt, the model's rounds, skills.

Nothing here knows a line, a socket or a sound: a voice call and a chat hold the same thing.
"""

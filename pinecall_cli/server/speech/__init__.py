"""The audio API: texts to sound and sound to text, for whoever asks over HTTP or a socket.

It shares the calls' engines and takes second place to them.
"""

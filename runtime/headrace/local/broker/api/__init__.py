"""What the broker answers, a file a subject: each handler takes the core and a call and gives a response.

``table`` says which requests are served, and in which versions. Handlers do no socket work and hold no state.
"""

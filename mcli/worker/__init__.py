"""
The preloaded process of one app, and the job processes forked from it.

Runs under the app's own interpreter, so it imports nothing but the standard library and
mcli's words; never the store.
"""

"""Other queues, measured in the same run on the same server.

Each has a virtual environment of its own (`installed`); what runs in it (the files
``*_drain.py``) imports nothing of ours and prints one JSON object.
"""

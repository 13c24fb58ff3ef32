"""The demo: ten OUSs taken from the first launch to Delivered, and a verdict on what is there then."""

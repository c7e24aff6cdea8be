"""`report.html`: what a run found, as one page that needs nothing but itself.

`gather.py` collects a `RunView` from the report and the store, `page.py` makes it the page, and
`write.py` keeps the page in the store, so that it is only made again when something changed.
"""

"""A run beside a committed one: has anything become worse since somebody accepted it?"""

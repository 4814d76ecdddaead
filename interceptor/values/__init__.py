"""The values a setting or a match may hold: sets of ports, ids, networks, interfaces; marks.

All are frozen, hashable and canonical: two sets with the same members are equal, whatever the
order or overlap they were written with, and ``str()`` gives a text that ``parse()`` takes back.
What was written in a list is kept beside that, as ``written``: a dialect may have a rule for each.
``parse()`` raises ``ValueError`` with half a sentence; the caller adds whose value it was.
"""

from interceptor.values.interfaces import INTERFACE_NAME, Interfaces
from interceptor.values.lists import EVERYTHING, split
from interceptor.values.marks import FULL_MASK, Mark, Marks
from interceptor.values.networks import Network, Networks, parse_network
from interceptor.values.options import OPTION_NAME, Options
from interceptor.values.ranges import Accounts, Ids, Ports, Range, Ranges, merge

__all__ = [
    "EVERYTHING",
    "FULL_MASK",
    "INTERFACE_NAME",
    "OPTION_NAME",
    "Accounts",
    "Ids",
    "Interfaces",
    "Mark",
    "Marks",
    "Network",
    "Networks",
    "Options",
    "Ports",
    "Range",
    "Ranges",
    "merge",
    "parse_network",
    "split",
]

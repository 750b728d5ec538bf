"""Fetching: from a source (archive or folder, far or near) to files on this disk, moving no byte twice.

Decisions:
- Look before you move: `plan` costs a few requests and says what is wanted, what is already there, how many bytes will
  move and whether they fit. `fetch` then does that.
- Of an archive only its directory and the wanted members move (`remotezip`, `transfer`); faults of the network are met
  in `remote`; what lies on disk after a kill, and how to go on from it, is in `cache`.
- An archive that changes while it is fetched is planned anew; members whose CRC-32 stayed the same are kept.
- A local folder is used where it lies. A server without ranges gives the whole archive once, and the plan says so.
"""

from stepladder.data.fetch.bytesource import FetchError, Patience, Unreachable, local_path
from stepladder.data.fetch.fetching import IncompleteFetch, Report, fetch
from stepladder.data.fetch.planning import Plan, inspect, plan
from stepladder.data.fetch.remotezip import BadMember, Member

__all__ = [
    "BadMember",
    "FetchError",
    "IncompleteFetch",
    "Member",
    "Patience",
    "Plan",
    "Report",
    "Unreachable",
    "fetch",
    "inspect",
    "local_path",
    "plan",
]

"""Sampling at scale: sample ids are cut into shards of whole blocks, one file a shard, and the union is bit-identical with one process.

A sample is a function of (seed, id) alone, to the bit within its block: the consecutive ids that share network calls. So a shard is a
run of whole blocks, and which process makes it, when, how often it was killed on the way, and how many shards there are changes nothing. A
:class:`ShardFolder` holds one finished file a shard, with its size and SHA-256 beside it, and the :class:`Plan` that all of them follow.
"""

from __future__ import annotations

from scidiff.shards.console import Advance, Shards
from scidiff.shards.folder import Done, ShardFolder, Written
from scidiff.shards.job import Job, Report, make_shards
from scidiff.shards.merge import Merged, merge, remarks
from scidiff.shards.overview import show_plan
from scidiff.shards.plan import MAX_SHARDS, Plan
from scidiff.shards.share import Share, share_of, use_own_gpu
from scidiff.shards.target import Target, target_of

__all__ = [
    "MAX_SHARDS",
    "Advance",
    "Done",
    "Job",
    "Merged",
    "Plan",
    "Report",
    "ShardFolder",
    "Shards",
    "Share",
    "Target",
    "Written",
    "make_shards",
    "merge",
    "remarks",
    "share_of",
    "show_plan",
    "target_of",
    "use_own_gpu",
]

"""The schema that the fixtures are written for: a column of every type."""

from segmentation.events.schema import load_schema

SCHEMA = load_schema(
    """
events:
  region: {type: text}
  url: {type: text}
  amount: {type: "numeric(18,2)"}
  quantity: {type: bigint}
  score: {type: double}
  flag: {type: boolean}
  sent_at: {type: timestamptz}
users:
  city_tier: {type: bigint}
  country: {type: text}
  credit: {type: "numeric(18,2)"}
  vip: {type: boolean}
  joined: {type: timestamptz}
"""
)

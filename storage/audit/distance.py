"""great_circle_distance for DuckDB: the formula of the docs, as a macro."""

GREAT_CIRCLE_DISTANCE = """\
CREATE OR REPLACE MACRO great_circle_distance(lat1, lon1, lat2, lon2) AS
  CASE WHEN abs(lat1) <= 90 AND abs(lat2) <= 90 AND abs(lon1) <= 180 AND abs(lon2) <= 180 THEN
    12742017.6::DOUBLE * asin(least(1.0::DOUBLE, sqrt(
      sin((radians(lat2) - radians(lat1)) / 2) * sin((radians(lat2) - radians(lat1)) / 2)
      + cos(radians(lat1)) * cos(radians(lat2))
        * (sin((radians(lon2) - radians(lon1)) / 2) * sin((radians(lon2) - radians(lon1)) / 2))
    )))
  END
"""

/*
description: First and last value, without a window
*/
SELECT user_id FROM events GROUP BY user_id
HAVING arg_max(region, event_time) = 'north' AND arg_min(region, event_time) <> 'north'

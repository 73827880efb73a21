/*
description: Lives in a city of the first tier, and bought at least twice within 30 days
owner: growth
tags: [profile, spend]
*/
SELECT user_id
FROM events JOIN users USING (user_id)
WHERE users.city_tier = 1 AND event_type = 'purchase' AND event_time > now() - INTERVAL '30 days'
GROUP BY user_id
HAVING count(*) >= 2

/*
description: Bought at least three times within the last four weeks
owner: crm
tags: [frequency]
*/
SELECT user_id
FROM events
WHERE event_type = 'purchase'
  AND event_time BETWEEN now() - INTERVAL '4 weeks' AND now()
GROUP BY user_id
HAVING count(*) >= 3

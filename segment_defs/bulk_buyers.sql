/*
description: Once bought ten pieces or more, or anything for 1000 or more
owner: sales
tags: [spend]
*/
SELECT user_id
FROM events
WHERE event_type = 'purchase'
  AND (quantity >= 10 OR amount * coalesce(quantity, 1) >= 1000)
GROUP BY user_id

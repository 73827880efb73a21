/*
description: An order is worth more than 80 on the whole, over at least three orders
owner: analytics
tags: [spend]
*/
SELECT user_id
FROM events
WHERE event_type = 'purchase'
  AND amount IS NOT NULL
GROUP BY user_id
HAVING sum(amount) > 80 * count(*)
   AND count(*) >= 3

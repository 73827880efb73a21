/*
description: A quotient
*/
SELECT user_id FROM events WHERE event_type = 'purchase' AND amount IS NOT NULL GROUP BY user_id
HAVING sum(amount) / count(*) > 50
